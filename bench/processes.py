"""What a tree of processes has used: processor time and memory, read from /proc.

It must never miss a child that has come and gone: a process's own counters include those of the children it has
waited for.

*Limits.* Linux only. A child that ends without being waited for by its parent is not counted. ``PSS`` shares
out what several processes map, and is the fair sum; it is read every two seconds, so that a short peak can be
missed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB over all processes of a tree, and how many there are. ``largest``: what one has to itself, at most."""

    rss: float = 0.0
    pss: float = 0.0
    processes: int = 0
    largest: float = 0.0


def tree(roots: Iterable[int]) -> set[int]:
    """``roots`` and all their descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))):
            children.setdefault(int(stat[1]), []).append(int(entry))
    found: set[int] = set()
    waiting = [pid for pid in roots if _stat(pid)]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Iterable[int], *, children: bool = True) -> float:
    """User and system time of ``pids`` and, with ``children``, of those of their children that have ended."""
    ticks = 0
    for pid in pids:
        if stat := _stat(pid):
            ticks += sum(int(value) for value in stat[11 : 15 if children else 13])
    return ticks / _TICK


def memory(pids: Iterable[int]) -> Memory:
    """What ``pids`` hold now."""
    rss = pss = largest = 0.0
    count = 0
    for pid in pids:
        if rollup := _rollup(pid):
            count += 1
            rss += rollup["Rss"]
            pss += rollup["Pss"]
            largest = max(largest, _own(rollup))
    return Memory(rss, pss, count, largest)


def private(pid: int) -> float:
    """MiB that only ``pid`` has."""
    return _own(_rollup(pid))


def _own(rollup: dict[str, float]) -> float:
    return rollup.get("Private_Clean", 0.0) + rollup.get("Private_Dirty", 0.0)


def is_alive(pid: int) -> bool:
    """Whether ``pid`` still runs; one that only waits for its parent to notice its end does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def command(pid: int) -> str:
    """The command line of ``pid``, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def name(pid: int) -> str:
    """What ``pid`` calls itself, at most 15 characters, or nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


class PeakMemory:
    """Watches a tree from a thread, and keeps the highest figures."""

    def __init__(self, roots: Callable[[], Iterable[int]], interval: float = 2.0) -> None:
        self._roots = roots
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = Memory()

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._look()

    def _look(self) -> None:
        now, peak = memory(tree(self._roots())), self.peak
        self.peak = Memory(
            max(now.rss, peak.rss),
            max(now.pss, peak.pss),
            max(now.processes, peak.processes),
            max(now.largest, peak.largest),
        )


def _stat(pid: int) -> list[str]:
    """The fields of /proc/pid/stat after the command's name: state, parent, ...; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _rollup(pid: int) -> dict[str, float]:
    """MiB by kind; empty if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {field[0].rstrip(":"): int(field[1]) * 1024 / _MIB for field in fields if len(field) == 3}
