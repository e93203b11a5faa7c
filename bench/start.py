"""What a start of the service costs: seconds until it is ready, processor time, memory.

    python -m bench.start [--rounds 3] [--workers 2]

``fresh`` makes its database, ``again`` starts the same service a second time. Python's processor time is that of the
supervisor and all of its children at the moment it is ready; PostgreSQL's includes initdb and pg_ctl. Memory is PSS,
a moment later.

Limitations: Linux only. Processor time is read in ticks of 10 ms.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from bench import processes
from bench.service import Service

SETTLED_AFTER = 1.0  # seconds after ready at which memory is measured


@dataclass(frozen=True, slots=True)
class Start:
    """``python`` and ``postgres``: seconds of processor time; memory in MiB."""

    ready: float
    python: float
    postgres: float
    python_pss: float
    postgres_pss: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    rounds = [_round(arguments.workers) for _ in range(arguments.rounds)]
    print("| | ready s | Python CPU s | PostgreSQL CPU s | Python PSS MiB | PostgreSQL PSS MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, starts in zip(("fresh", "again"), zip(*rounds, strict=True), strict=True):
        medians = [statistics.median(column) for column in zip(*map(astuple, starts), strict=True)]
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in medians) + " |")


def _round(workers: int) -> tuple[Start, Start]:
    with tempfile.TemporaryDirectory(prefix="imprimatur-start-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # as root, PostgreSQL runs as another user
        service = Service(directory, {"server": {"workers": workers}})
        return _start(service), _start(service)


def _start(service: Service) -> Start:
    began = time.monotonic()
    service.start()
    ready = time.monotonic() - began
    try:
        assert service.process
        ours = processes.tree([service.process.pid])
        postgres = processes.tree(filter(None, [service.postmaster()])) - ours
        python = processes.cpu_seconds(ours, children=False)
        total = processes.cpu_seconds(ours | postgres)
        time.sleep(SETTLED_AFTER)
        return Start(ready, python, total - python, processes.memory(ours).pss, processes.memory(postgres).pss)
    finally:
        service.stop()


if __name__ == "__main__":
    main()
