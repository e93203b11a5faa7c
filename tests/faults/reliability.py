"""``make reliability``: many trials of each fault, and a digest that can be compared with another one.

    python -m tests.faults.reliability [--seed N] [--runs N | --only FAULT=N ...] [--out FOLDER]

Without options: 100 kills, 30 power cuts, 100 runs with a cut database, 10 clock steps, and ten of each other fault.
Each trial depends on its fault and its seed alone. The digest is written after each trial, as
``reliability.json`` (every trial) and ``reliability.md`` (the sums).

Exit status 1 if anything was lost, torn, sent though suppressed, delivered twice without a reason, or left undelivered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import cut_database, host_clock, latency, postfix
from tests.faults.crashes import FAULTS, Fault, strike
from tests.faults.disk import NoDisk, standing_on_disk
from tests.faults.figures import Figures, digest, table
from tests.faults.trial import Standing, stand, trial
from tests.flow.harness import open_directory

RUNS = {
    "kill_worker": 40,
    "kill_database": 30,
    "kill_everything": 30,
    "power_cut": 30,
    "cut_database": 100,
    "clock_step": 10,
    "full_disk": 10,
    **dict.fromkeys(("stop_in_order", "stall_worker", "slow_database", "descriptors", "dns_failures"), 10),
    "hostile_receivers": 10,
    postfix.NAME: 30,
}


class NotHere(Exception):
    """Why a fault cannot be made on this machine."""


@dataclass
class Session:
    """``out``: where the digest goes."""

    out: Path
    seed: int
    trials: list[Figures] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    accept: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    async def run(self, name: str, runs: int) -> None:
        """Run a fault so often; a new service for each fault."""
        try:
            async with standing_for(name) as (standing, fault):
                for seed in range(self.seed, self.seed + runs):
                    await self._one(name, standing, fault, seed)
        except (NotHere, NoDisk) as reason:
            self.skipped[name] = str(reason)
            print(f"{name}: {reason}", flush=True)

    async def _one(self, name: str, standing: Standing, fault: Fault, seed: int) -> None:
        try:
            async with trial(standing, seed, name) as this:
                figures = await strike(this, fault)
        except (AssertionError, RuntimeError, OSError) as error:
            self.failed.append(f"{name} seed {seed}: {str(error)[:2000]}")
            print(self.failed[-1], flush=True)
        else:
            self.trials.append(figures)
            print(figures.line(), flush=True)
        self.write()

    def write(self) -> None:
        """Write both files."""
        made = digest(self.trials) | {
            "seed": self.seed,
            "machine": f"{os.cpu_count()} CPUs, {platform.platform()}, Python {platform.python_version()}",
            "commit": _commit(),
            "seconds": round(time.time() - self.began),
            "failed": self.failed,
            "skipped": self.skipped,
            "accept_seconds_under_kills": self.accept,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "reliability.json").write_text(json.dumps(made, indent=1) + "\n")
        (self.out / "reliability.md").write_text(self.text(made["sums"]))

    def text(self, sums: dict[str, dict[str, float]]) -> str:
        lines = [table(sums)]
        lines += [f"\nnot run: {name}: {reason}\n" for name, reason in self.skipped.items()]
        lines += [f"\nFAILED {failed}\n" for failed in self.failed]
        if self.accept:
            shown = ", ".join(f"{name} {value}" for name, value in self.accept.items())
            lines.append(f"\nAccepting a message at half load, workers killed meanwhile: {shown}\n")
        return "".join(lines)

    @property
    def is_clean(self) -> bool:
        return not self.failed and all(one.is_clean for one in self.trials if one.fault != postfix.NAME)


@contextlib.asynccontextmanager
async def standing_for(name: str) -> AsyncIterator[tuple[Standing, Fault]]:
    """The service on which a fault is made. Raises NotHere, NoDisk."""
    async with contextlib.AsyncExitStack() as stack:
        if name in FAULTS:
            standing = await asyncio.to_thread(stand, stack.enter_context(open_directory()))
            stack.callback(standing.service.stop)
            fault = FAULTS[name]
        elif name in ("power_cut", "full_disk"):
            standing, disk = stack.enter_context(standing_on_disk())
            fault = disk.power_cut if name == "power_cut" else disk.full_disk
        elif name in OTHERS:
            if reason := OTHERS[name].missing():
                raise NotHere(reason)
            standing, fault = await stack.enter_async_context(OTHERS[name].standing())
        else:
            raise NotHere("no such fault")
        yield standing, fault


OTHERS = {"clock_step": host_clock, "cut_database": cut_database, postfix.NAME: postfix}


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def wanted(arguments: argparse.Namespace) -> dict[str, int]:
    """How often each fault is to be made."""
    if arguments.only:
        return {name: int(runs or 1) for name, _, runs in (one.partition("=") for one in arguments.only)}
    return {name: arguments.runs or runs for name, runs in RUNS.items()}


async def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, help="of each fault")
    parser.add_argument("--only", nargs="+", metavar="FAULT=RUNS")
    parser.add_argument("--latency", type=float, default=200.0, metavar="SECONDS", help="0: not measured")
    parser.add_argument("--out", type=Path, default=Path("reliability"))
    arguments = parser.parse_args()
    session = Session(arguments.out, arguments.seed)
    for name, runs in wanted(arguments).items():
        await session.run(name, runs)
    if arguments.latency:
        session.accept = await latency.measure(arguments.latency, session.seed)
    session.write()
    print((session.out / "reliability.md").read_text())
    return 0 if session.is_clean else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
