"""``python -m bench.run``: all contenders with all loads, in interleaved rounds; prints tables, writes results.json.

``python -m bench.run memory`` measures instead how much memory a long queue adds to each process, ``footprint`` the
memory of each process, ``large`` what a hundred messages of 50 MB take.

Invariants: No process is left behind, no system service is touched.
Limitations: The other MTAs need root and ``make peers``; without them only the service is measured, and a line says so.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from bench import footprint, memory, report
from bench.contenders import Contender, Entry, Site, entries, make_key
from bench.rig import RESOLVER, Result, Rig, machine, measure, rig
from bench.source import Load

RESULTS = Path(__file__).parent / "results.json"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", nargs="?", choices=["throughput", "memory", "footprint", "large"], default="throughput")
    parser.add_argument("--quick", action="store_true", help="one short round, 10 kB only")
    parser.add_argument("--count", type=int, help="messages per run (5000; 2000 with --quick; 100000 for memory)")
    parser.add_argument("--rounds", type=int, help="rounds; the median is reported (3; 1 with --quick)")
    parser.add_argument("--only", nargs="+", choices=[entry.name for entry in entries()], help="contenders")
    parser.add_argument("--sizes", nargs="+", type=int, help="message sizes in bytes (10240 61440)")
    parser.add_argument("--domains", nargs="+", type=int, default=[1, 50], help="destination domains (1 50)")
    parser.add_argument("--sessions", type=int, default=20, help="submitting sessions (20)")
    parser.add_argument("--single", action="store_true", help="also with one message per connection (10 kB, 1 domain)")
    parser.add_argument("--workers", type=int, help="worker processes of the service (default: one per core)")
    parser.add_argument(
        "--profile", type=Path, help="file for a py-spy profile of the service: .svg, or .txt for stacks"
    )
    chosen = parser.parse_args()
    chosen.sizes = chosen.sizes or ([10_240] if chosen.quick else [10_240, 61_440])
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 3)
    chosen.count = chosen.count or (100_000 if chosen.what == "memory" else 2000 if chosen.quick else 5000)
    chosen.single = chosen.single or not chosen.quick
    return chosen


def main() -> None:
    chosen = options()
    with tempfile.TemporaryDirectory(prefix="imprimatur-bench-") as work:
        directory = Path(work)
        directory.chmod(0o755)  # the database runs as another user
        if chosen.what == "memory":
            memory.run(directory, chosen.count)
        elif chosen.what == "footprint":
            footprint.at_full_rate(directory, chosen.count)
        elif chosen.what == "large":
            footprint.with_large_messages(directory)
        else:
            throughput(directory, chosen)


def throughput(directory: Path, chosen: argparse.Namespace) -> None:
    """Measure, print and save the results."""
    contenders = list(available(chosen.only))
    about = machine()
    print(report.describe(about))
    results: list[Result] = []
    with rig() as stage:
        site = Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port, chosen.workers)
        for number, load in itertools.product(range(chosen.rounds), loads(chosen)):
            for entry in contenders:
                result = once(entry, site, load, stage, chosen.profile)
                results.append(result)
                print(report.line(number + 1, result), flush=True)
    medians = report.medians(results)
    print(report.tables(medians))
    written = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "rounds": chosen.rounds,
        "medians": [asdict(result) for result in medians],
        "runs": [asdict(result) for result in results],
    }
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")


def available(only: list[str] | None) -> Iterator[Entry]:
    """Return the contenders that can run here; print a line for each that cannot."""
    for entry in entries():
        if only and entry.name not in only:
            continue
        if entry.missing:
            print(f"not measured: {entry.title} ({entry.missing})")
        else:
            yield entry


def loads(chosen: argparse.Namespace) -> Iterator[Load]:
    """Yield the loads, without the port."""
    for size, domains in itertools.product(chosen.sizes, chosen.domains):
        yield Load(port=0, count=chosen.count, size=size, domains=domains, sessions=chosen.sessions)
    if chosen.single:
        yield Load(port=0, count=chosen.count, size=10_240, sessions=chosen.sessions, per_connection=1)


def once(entry: Entry, site: Site, load: Load, stage: Rig, profile: Path | None) -> Result:
    """Start a contender, measure one load, stop it."""
    contender = entry.make(site)
    try:
        contender.start()
        with profiled(contender, profile if entry.name == "ours" else None):
            return measure(entry.name, contender, replace(load, port=contender.port), stage)
    except Exception:
        print(contender.output())
        raise
    finally:
        contender.stop()


@contextmanager
def profiled(contender: Contender, target: Path | None) -> Iterator[None]:
    """Record a flame graph of the contender's Python processes, if requested and py-spy is installed."""
    tool = shutil.which("py-spy")
    if target is None or tool is None:
        if target:
            print("no profile: py-spy is not installed")
        yield
        return
    command = [tool, "record", "--subprocesses", "--pid", str(contender.roots()[0]), "--duration", "unlimited"]
    command += ["--output", str(target), "--format", "flamegraph" if target.suffix == ".svg" else "raw"]
    recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        recorder.send_signal(2)  # SIGINT: write the file
        recorder.wait()
        os.sync()


if __name__ == "__main__":
    main()
