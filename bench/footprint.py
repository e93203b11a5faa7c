"""``python -m bench.run footprint``: memory of each process, idle and at full rate; ``large``: with large messages.

``large``: a hundred messages of 50 MB arrive at once, while another client sends small ones. Shown are how much more
memory all processes take together than idle, and how long the small ones wait for their 250.

Invariants: PSS, so that shared pages are counted once.
Limitations: read every half second: a shorter peak can be missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import processes
from bench.contenders import Ours, Site, make_key
from bench.rig import RESOLVER, Rig, measure, rig
from bench.source import Load, Sent, Source

_EVERY = 0.5  # seconds
_SIZE = 50_000_000
_LARGE = 100  # messages at once
_SMALL_SESSIONS = 4
_ALLOWED_MIB = 300
_ALLOWED_MS = 100

Footprint = dict[str, float]  # MiB by kind of process


def at_full_rate(directory: Path, count: int) -> None:
    """Print the memory by process, idle and at its highest while ``count`` messages pass."""
    with _service(directory) as (ours, stage):
        _print("idle", footprint(ours))
        with Highest(ours) as highest:
            load = Load(port=ours.port, count=count, domains=50)
            result = measure("ours", ours, load, stage)
        print(f"{result.drain_rate:.0f} messages/s, {result.cpu_ms:.2f} ms CPU, lost {result.lost}")
        _print("at full rate", highest.found)


def with_large_messages(directory: Path) -> None:
    """Print what a hundred large messages at once add, and how long small ones wait meanwhile."""
    with _service(directory) as (ours, stage):
        before = footprint(ours)
        done = threading.Event()
        small: list[Sent] = []
        others = threading.Thread(target=lambda: small.extend(_small(ours.port, done)))
        with Highest(ours) as highest:
            others.start()
            load = Load(port=ours.port, count=_LARGE, size=_SIZE, domains=50, sessions=_LARGE, per_connection=1)
            sent = Source(load).run()
            done.set()
            others.join()
            while stage.arrived() < len(sent.accepted) + sum(len(each.accepted) for each in small):
                time.sleep(0.2)
        more = sum(highest.found.values()) - sum(before.values())
        waits = sorted(seconds * 1000 for each in small for seconds in each.seconds)
        p99 = waits[int(len(waits) * 0.99)]
        _print("idle", before)
        _print("highest", highest.found)
        print(f"{len(sent.accepted)} of {_LARGE} taken in {sent.ended - sent.started:.0f} s; others' accept p50 "
              f"{waits[len(waits) // 2]:.0f} ms, p99 {p99:.0f} ms of {len(waits)}")  # fmt: skip
        print(f"{more:.0f} MiB above idle ({_verdict(more, _ALLOWED_MIB)}), p99 {_verdict(p99, _ALLOWED_MS)}")


def footprint(ours: Ours) -> Footprint:
    """Return the PSS of all processes now, those of one kind together."""
    found: Footprint = {}
    for pid in processes.tree(ours.roots()):
        kind = processes.name(pid)
        if kind == "postgres":
            of = processes.command(pid).partition(" ")[2].split(" ")
            kind = "connections of PostgreSQL" if of[0] == "imprimatur" else "PostgreSQL's own"
        found[kind] = found.get(kind, 0.0) + processes.memory([pid]).pss
    return found


class Highest:
    """Keeps the footprint that was largest in all."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.found: Footprint = {}

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY):
            now = footprint(self._ours)
            if sum(now.values()) > sum(self.found.values()):
                self.found = now


@contextmanager
def _service(directory: Path) -> Iterator[tuple[Ours, Rig]]:
    with rig() as stage:
        ours = Ours(Site(directory, make_key(directory), RESOLVER, 53, stage.sink_port))
        try:
            ours.start()
            time.sleep(1)
            yield ours, stage
        except Exception:
            print(ours.output())
            raise
        finally:
            ours.stop()


def _small(port: int, done: threading.Event) -> Iterator[Sent]:
    """Send small messages until ``done``."""
    first = 1000
    while not done.is_set():
        load = Load(port=port, count=50, size=2048, domains=50, sessions=_SMALL_SESSIONS, first_id=first)
        yield Source(load).run()
        first += load.count


def _print(title: str, found: Footprint) -> None:
    print(f"{title}: {sum(found.values()):.0f} MiB")
    for kind, mib in sorted(found.items(), key=lambda each: -each[1]):
        print(f"    {kind:28} {mib:6.1f}")


def _verdict(value: float, allowed: float) -> str:
    return f"within {allowed:.0f}" if value <= allowed else f"MORE THAN {allowed:.0f}"
