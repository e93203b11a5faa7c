"""Postfix under the same load, killed with all its processes: what another good queue does, for comparison.

Its receivers are found by ``relayhost``. It knows no suppressions, and its log is not read: for it every recipient that
was delivered twice counts as unexplained.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench import processes, programs
from bench.postfix import Postfix
from bench.service import Service, free_port, signal_all
from tests.faults.crashes import Fault
from tests.faults.trial import RECEIVER_ADDRESS, Books, Standing, Trial
from tests.flow.harness import open_directory

NAME = "postfix_kill_everything"
# A file that is not executable was never finished, and never acknowledged.
QUEUES = ("maildrop", "incoming", "active", "deferred")


def missing() -> str | None:
    return programs.missing("master", "postconf")


@dataclass
class KeptPostfix(Postfix):
    """A Postfix whose queue outlives it."""

    def _lay_out(self) -> None:
        if not (self.directory / "config").exists():
            super()._lay_out()
        (self.directory / "queue/pid/master.pid").unlink(missing_ok=True)

    def kill_everything(self) -> None:
        """Kill all its processes at once."""
        assert self.process
        frozen = signal_all(processes.tree([self.process.pid]), signal.SIGSTOP)
        signal_all(frozen, signal.SIGKILL)
        self.process.wait()


@dataclass
class PostfixStanding(Standing):
    postfix: KeptPostfix | None = None

    async def queued(self) -> list[Any]:
        assert self.postfix
        found = []
        for name in QUEUES:
            for path in (self.postfix.directory / "queue" / name).rglob("*"):
                with contextlib.suppress(FileNotFoundError):  # it has just been delivered, or goes to another queue
                    if path.is_file() and path.stat().st_mode & stat.S_IXUSR:
                        found.append(path.name)
        return found[:3]

    async def suppress(self, addresses: Sequence[str]) -> bool:
        return False

    async def books(self, until: float) -> Books:
        return Books(set(), 0)


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[tuple[Standing, Fault]]:
    with open_directory() as directory:
        receiver_port = free_port(RECEIVER_ADDRESS)
        postfix = KeptPostfix(Path(directory) / "postfix", free_port(), _settings(receiver_port))
        await asyncio.to_thread(postfix.start)
        made = PostfixStanding(cast(Service, postfix), receiver_port, free_port(), postfix=postfix)
        try:
            yield made, kill_everything
        finally:
            await asyncio.to_thread(postfix.stop)


async def kill_everything(this: Trial) -> None:
    postfix = cast(KeptPostfix, this.standing.service)
    await asyncio.to_thread(postfix.kill_everything)
    this.struck()
    await asyncio.to_thread(postfix.start)


def _settings(receiver_port: int) -> dict[str, str]:
    """Retries as quick as ours in these trials."""
    return {
        "relayhost": f"[{RECEIVER_ADDRESS}]:{receiver_port}",
        "smtp_host_lookup": "native",
        "minimal_backoff_time": "1s",
        "maximal_backoff_time": "1s",
        "queue_run_delay": "1s",
        "default_destination_concurrency_limit": "20",
        "local_header_rewrite_clients": "",  # or a Date is put into the header, and the octets are others
    }
