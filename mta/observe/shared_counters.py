"""Counters, gauges and histograms that other processes can read at any moment.

Each process maps one small file of doubles. Counting is one addition in memory: no lock, no system call, no flush, and
the counts survive ``kill -9``. Each series has a fixed slot, assigned in the order of declaration, so all processes
that run the same code agree on it; the fingerprint of the declarations is part of the file's name.

Invariants: Memory does not grow with traffic: labels are enums, or names given at the declaration, so the number of
series is fixed by the declarations.
Limitations: One writing thread per process. A reader may see a histogram's sum one observation ahead of its buckets.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import TypeVar

SIZE = 64 * 1024  # bytes of a file: 8,192 series
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0, 432000.0)

Member = TypeVar("Member", bound=Enum)
Second = TypeVar("Second", bound=Enum)


class MetricType(Enum):
    """How the values of several processes are combined."""

    COUNTER = "counter"  # sum over all processes, ended ones included
    SUM = "gauge, sum over live processes"
    MAX = "gauge, maximum of live processes"
    HISTOGRAM = "histogram"  # sum over all processes, ended ones included


@dataclass(frozen=True, slots=True)
class Family:
    """One declared metric. ``start``: slot of its first series; ``series``: the label values of each series, in order.

    A histogram's series has a slot for each bound, one for the values above the last bound, and one for the sum.
    ``room``: how many series there may be, if names may be added while the service runs.
    """

    name: str
    help: str
    type: MetricType
    labels: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    start: int
    bounds: tuple[float, ...] = ()
    room: int = 0

    @property
    def width(self) -> int:
        """Slots of one series."""
        return len(self.bounds) + 2 if self.type is MetricType.HISTOGRAM else 1

    @property
    def slots(self) -> range:
        return range(self.start, self.start + self.width * len(self.series))

    @property
    def end(self) -> int:
        """The slot behind its room."""
        return self.start + self.width * max(self.room, len(self.series))

    @property
    def starts(self) -> range:
        """The first slot of each series."""
        return self.slots[:: self.width]


class Counter:
    """A value that only grows."""

    __slots__ = ("_slot", "_values")

    def __init__(self, values: memoryview[float], slot: int) -> None:
        self._values, self._slot = values, slot

    def inc(self, amount: float = 1.0) -> None:
        self._values[self._slot] += amount

    @property
    def value(self) -> float:
        return float(self._values[self._slot])


class Gauge(Counter):
    """A value that rises and falls."""

    __slots__ = ()

    def dec(self, amount: float = 1.0) -> None:
        self._values[self._slot] -= amount

    def set(self, value: float) -> None:
        self._values[self._slot] = value


class Histogram:
    """Observations sorted into buckets by upper bound (inclusive)."""

    __slots__ = ("_bounds", "_start", "_sum", "_values")

    def __init__(self, values: memoryview[float], start: int, bounds: tuple[float, ...]) -> None:
        self._values, self._start, self._bounds, self._sum = values, start, bounds, start + len(bounds) + 1

    def observe(self, value: float) -> None:
        values = self._values
        values[self._sum] += value
        values[self._start + bisect_left(self._bounds, value)] += 1.0

    @property
    def count(self) -> int:
        return int(sum(self._values[self._start : self._sum]))


class Counters(dict[Member, Counter]):
    """A counter for each member of an enum: ``counters[Fault.SITE].inc()``."""


class CounterTable(dict[tuple[Member, Second], Counter]):
    """A counter for each pair of members of two enums: ``table[stage, kind].inc()``."""


class Gauges(dict[Member, Gauge]):
    """A gauge for each member of an enum."""


class Histograms(dict[Member, Histogram]):
    """A histogram for each member of an enum."""


NamedCounters = dict[str, Counter]  # by name


class SharedCounters:
    """The values of this process and the declarations that give each slot its meaning."""

    def __init__(self, buffer: mmap.mmap | bytearray | None = None) -> None:
        """``buffer``: a shared mapping of SIZE bytes, or None for private memory."""
        self.buffer = bytearray(SIZE) if buffer is None else buffer
        self.values = memoryview(self.buffer).cast("d")
        self.families: list[Family] = []
        self._next = 0

    def counter(self, name: str, help: str) -> Counter:
        return Counter(self.values, self._declare(name, help, MetricType.COUNTER).start)

    def counters(self, name: str, help: str, label: str, members: type[Member]) -> Counters[Member]:
        starts = self._declare(name, help, MetricType.COUNTER, (label, members)).starts
        return Counters({m: Counter(self.values, start) for m, start in zip(members, starts, strict=True)})

    def counter_table(
        self, name: str, help: str, first: tuple[str, type[Member]], second: tuple[str, type[Second]]
    ) -> CounterTable[Member, Second]:
        starts = self._declare(name, help, MetricType.COUNTER, first, second).starts
        pairs = product(first[1], second[1])
        return CounterTable({pair: Counter(self.values, start) for pair, start in zip(pairs, starts, strict=True)})

    def named_counters(self, name: str, help: str, label: str, names: Sequence[str], room: int) -> NamedCounters:
        """``room``: how many names there may be."""
        series = [(each,) for each in names]
        starts = self._declare_series(name, help, MetricType.COUNTER, (label,), series, room=room).starts
        return {each: Counter(self.values, start) for each, start in zip(names, starts, strict=True)}

    def named_table(
        self, name: str, help: str, label: str, names: Sequence[str], second: tuple[str, type[Second]], room: int
    ) -> dict[str, Counters[Second]]:
        members = list(second[1])
        series = [(each, member.name.lower()) for each in names for member in members]
        labels, room = (label, second[0]), room * len(members)
        starts = iter(self._declare_series(name, help, MetricType.COUNTER, labels, series, room=room).starts)
        return {each: Counters({member: Counter(self.values, next(starts)) for member in members}) for each in names}

    def gauge(self, name: str, help: str, type_: MetricType = MetricType.SUM) -> Gauge:
        return Gauge(self.values, self._declare(name, help, type_).start)

    def gauges(
        self, name: str, help: str, label: str, members: type[Member], type_: MetricType = MetricType.SUM
    ) -> Gauges[Member]:
        starts = self._declare(name, help, type_, (label, members)).starts
        return Gauges({m: Gauge(self.values, start) for m, start in zip(members, starts, strict=True)})

    def histogram(self, name: str, help: str, bounds: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(self.values, self._declare(name, help, MetricType.HISTOGRAM, bounds=bounds).start, bounds)

    def histograms(self, name: str, help: str, label: str, members: type[Member]) -> Histograms[Member]:
        starts = self._declare(name, help, MetricType.HISTOGRAM, (label, members), bounds=SECONDS).starts
        return Histograms({m: Histogram(self.values, start, SECONDS) for m, start in zip(members, starts, strict=True)})

    def _declare(
        self, name: str, help: str, type_: MetricType, *labels: tuple[str, type[Enum]], bounds: tuple[float, ...] = ()
    ) -> Family:
        series = list(product(*([member.name.lower() for member in members] for _, members in labels)))
        return self._declare_series(name, help, type_, tuple(label for label, _ in labels), series, bounds)

    def _declare_series(
        self,
        name: str,
        help: str,
        type_: MetricType,
        labels: tuple[str, ...],
        series: Sequence[tuple[str, ...]],
        bounds: tuple[float, ...] = (),
        room: int = 0,
    ) -> Family:
        family = Family(name, help, type_, labels, tuple(series), self._next, bounds, room)
        self._next = family.end
        if self._next > len(self.values):
            raise ValueError(f"metric {name}: more than {len(self.values)} series in all; raise SIZE")
        self.families.append(family)
        return family

    @property
    def suffix(self) -> str:
        """The end of the file's name: equal for processes whose slots have the same meaning."""
        meaning = [replace(family, series=()) if family.room else family for family in self.families]
        return f".{blake2b(repr(meaning).encode(), digest_size=6).hexdigest()}.counters"


def map_file(path: Path) -> mmap.mmap:
    """Create the file ``path`` of SIZE zeros (mode 0600) and map it, shared. Raises FileExistsError, OSError."""
    fd = create_file(path)
    try:
        os.ftruncate(fd, SIZE)
        return mmap.mmap(fd, SIZE)
    finally:
        os.close(fd)


def create_file(path: Path, flags: int = os.O_EXCL) -> int:
    """Open a file to write, never through a symbolic link. Created by root, it belongs to its directory's owner."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def read_file(path: Path) -> memoryview[float] | None:
    """Return the values in ``path`` as they are now; None if the file is gone or incomplete."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return None
    return memoryview(octets).cast("d") if len(octets) == SIZE else None
