"""Numbers of one process that another process can read at any moment: counters, gauges, histograms in a shared page.

Each process maps one small file of doubles. Counting is one addition in memory: no lock, no system call, no flush, and
what was counted survives ``kill -9``. Every series has its fixed place, given out in the order of declaration, so all
processes running the same code agree about it; the fingerprint of the declarations is part of the file's name.

It must never grow with traffic: labels are enums, so the number of series is known before the first message.

*Limits.* One writing thread for each process. A reader may see a histogram's sum one observation ahead of its buckets.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Generic, TypeVar

SIZE = 16 * 1024  # octets of a page file: 2,048 series
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0, 432000.0)

Label = TypeVar("Label", bound=Enum)
Second = TypeVar("Second", bound=Enum)


class MetricForm(Enum):
    """How the values of several processes become one."""

    COUNTER = "counter"  # added up, the dead included
    SUM = "gauge, summed over live processes"
    MAX = "gauge, highest of live processes"
    HISTOGRAM = "histogram"  # added up, the dead included


@dataclass(frozen=True, slots=True)
class Family:
    """One declared metric: ``start`` is the cell of its first series, ``series`` the label values of each in order.

    A histogram's series takes one cell for each bound, one for what is above them all, and one for the sum.
    """

    name: str
    help: str
    form: MetricForm
    labels: tuple[str, ...]
    series: tuple[tuple[str, ...], ...]
    start: int
    bounds: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        return len(self.bounds) + 2 if self.form is MetricForm.HISTOGRAM else 1

    @property
    def cells(self) -> int:
        return self.width * len(self.series)


class Counter:
    """Only goes up."""

    __slots__ = ("_cell", "_cells")

    def __init__(self, cells: memoryview[float], cell: int) -> None:
        self._cells, self._cell = cells, cell

    def inc(self, amount: float = 1.0) -> None:
        self._cells[self._cell] += amount

    @property
    def value(self) -> float:
        return float(self._cells[self._cell])


class Gauge(Counter):
    """Goes up and down."""

    __slots__ = ()

    def dec(self, amount: float = 1.0) -> None:
        self._cells[self._cell] -= amount

    def set(self, value: float) -> None:
        self._cells[self._cell] = value


class Histogram:
    """Observations sorted into buckets by their upper bounds."""

    __slots__ = ("_bounds", "_cells", "_start", "_sum")

    def __init__(self, cells: memoryview[float], start: int, bounds: tuple[float, ...]) -> None:
        self._cells, self._start, self._bounds, self._sum = cells, start, bounds, start + len(bounds) + 1

    def observe(self, value: float) -> None:
        cells = self._cells
        cells[self._sum] += value
        cells[self._start + bisect_left(self._bounds, value)] += 1.0

    @property
    def count(self) -> int:
        return int(sum(self._cells[self._start : self._sum]))


class Counters(Generic[Label]):
    """A counter for each member of an enum: ``counters[Fault.SITE].inc()``."""

    __slots__ = ("_children",)

    def __init__(self, children: dict[Label, Counter]) -> None:
        self._children = children

    def __getitem__(self, label: Label) -> Counter:
        return self._children[label]


class CounterTable(Generic[Label, Second]):
    """A counter for each pair of members of two enums: ``table[stage, kind].inc()``."""

    __slots__ = ("_children",)

    def __init__(self, children: dict[tuple[Label, Second], Counter]) -> None:
        self._children = children

    def __getitem__(self, labels: tuple[Label, Second]) -> Counter:
        return self._children[labels]


class Gauges(Generic[Label]):
    """A gauge for each member of an enum."""

    __slots__ = ("_children",)

    def __init__(self, children: dict[Label, Gauge]) -> None:
        self._children = children

    def __getitem__(self, label: Label) -> Gauge:
        return self._children[label]


class Histograms(Generic[Label]):
    """A histogram for each member of an enum."""

    __slots__ = ("_children",)

    def __init__(self, children: dict[Label, Histogram]) -> None:
        self._children = children

    def __getitem__(self, label: Label) -> Histogram:
        return self._children[label]


class CounterPage:
    """The cells of this process, and what each of them means."""

    def __init__(self, buffer: mmap.mmap | bytearray | None = None) -> None:
        """``buffer``: a shared mapping of SIZE octets, or None for memory of our own."""
        self.cells = memoryview(bytearray(SIZE) if buffer is None else buffer).cast("d")
        self.families: list[Family] = []
        self._next = 0

    def counter(self, name: str, help: str) -> Counter:
        return Counter(self.cells, self._declare(name, help, MetricForm.COUNTER).start)

    def counters(self, name: str, help: str, label: str, values: type[Label]) -> Counters[Label]:
        start = self._declare(name, help, MetricForm.COUNTER, (label, values)).start
        return Counters({value: Counter(self.cells, start + i) for i, value in enumerate(values)})

    def counter_table(
        self, name: str, help: str, first: tuple[str, type[Label]], second: tuple[str, type[Second]]
    ) -> CounterTable[Label, Second]:
        start = self._declare(name, help, MetricForm.COUNTER, first, second).start
        pairs = product(first[1], second[1])
        return CounterTable({pair: Counter(self.cells, start + i) for i, pair in enumerate(pairs)})

    def gauge(self, name: str, help: str, form: MetricForm = MetricForm.SUM) -> Gauge:
        return Gauge(self.cells, self._declare(name, help, form).start)

    def gauges(
        self, name: str, help: str, label: str, values: type[Label], form: MetricForm = MetricForm.SUM
    ) -> Gauges[Label]:
        start = self._declare(name, help, form, (label, values)).start
        return Gauges({value: Gauge(self.cells, start + i) for i, value in enumerate(values)})

    def histogram(self, name: str, help: str, bounds: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(self.cells, self._declare(name, help, MetricForm.HISTOGRAM, bounds=bounds).start, bounds)

    def histograms(
        self, name: str, help: str, label: str, values: type[Label], bounds: tuple[float, ...] = SECONDS
    ) -> Histograms[Label]:
        family = self._declare(name, help, MetricForm.HISTOGRAM, (label, values), bounds=bounds)
        starts = range(family.start, family.start + family.cells, family.width)
        return Histograms({v: Histogram(self.cells, s, bounds) for v, s in zip(values, starts, strict=True)})

    def _declare(
        self, name: str, help: str, form: MetricForm, *labels: tuple[str, type[Enum]], bounds: tuple[float, ...] = ()
    ) -> Family:
        series = tuple(product(*([member.name.lower() for member in values] for _, values in labels)))
        family = Family(name, help, form, tuple(label for label, _ in labels), series, self._next, bounds)
        self._next += family.cells
        if self._next > len(self.cells):
            raise ValueError(f"metric {name}: more than {len(self.cells)} series in all; raise SIZE")
        self.families.append(family)
        return family

    @property
    def fingerprint(self) -> str:
        """Equal for processes whose cells mean the same."""
        return blake2b(repr(self.families).encode(), digest_size=6).hexdigest()


def map_file(path: Path) -> mmap.mmap:
    """Make the file ``path`` of SIZE zeros (mode 0600) and map it, shared. Raises FileExistsError, OSError."""
    fd = create(path)
    try:
        os.ftruncate(fd, SIZE)
        return mmap.mmap(fd, SIZE)
    finally:
        os.close(fd)


def create(path: Path, flags: int = os.O_EXCL) -> int:
    """Open a file of ours to write, through no symbolic link. Made by root it belongs to the owner of its directory."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd


def read_file(path: Path) -> memoryview[float] | None:
    """The cells in ``path`` as they are now; None if the file is gone or not whole."""
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return None
    return memoryview(octets).cast("d") if len(octets) == SIZE else None
