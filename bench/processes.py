"""What a tree of processes uses: CPU time and memory, read from /proc.

Invariants: Children that have ended are counted: a process's own counters include the children it has waited for.
Limitations: Linux only. A child that its parent never waits for is not counted. PSS divides shared pages among the
processes that map them, and so is a fair sum; it is read every two seconds, so a short peak can be missed.
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
    """MiB of all processes of a tree, and their number. ``largest``: the most private memory of one process."""

    rss: float = 0.0
    pss: float = 0.0
    processes: int = 0
    largest: float = 0.0


def tree(roots: Iterable[int]) -> set[int]:
    """Return ``roots`` and all their living descendants."""
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
    """Return the user and system time of ``pids`` and, with ``children``, of their ended children."""
    ticks = 0
    for pid in pids:
        if stat := _stat(pid):
            ticks += sum(int(value) for value in stat[11 : 15 if children else 13])
    return ticks / _TICK


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory that ``pids`` use now."""
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
    """Return the private memory of ``pid``, in MiB."""
    return _own(_rollup(pid))


def _own(rollup: dict[str, float]) -> float:
    return rollup.get("Private_Clean", 0.0) + rollup.get("Private_Dirty", 0.0)


def is_alive(pid: int) -> bool:
    """Whether ``pid`` is running; a zombie is not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def command(pid: int) -> str:
    """Return the command line of ``pid``; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def name(pid: int) -> str:
    """Return the name of ``pid``, at most 15 characters; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


class PeakMemory:
    """Watches a tree from a thread and keeps the highest values."""

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
    """Return the fields of /proc/pid/stat after the name: state, parent, ...; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _rollup(pid: int) -> dict[str, float]:
    """Return MiB by kind; empty if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {field[0].rstrip(":"): int(field[1]) * 1024 / _MIB for field in fields if len(field) == 3}
