"""Pages of several processes added up, and questions to the sum: how many, how fast.

*Limits.* A quantile is as fine as the buckets: it is interpolated between their bounds, as Prometheus does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from mta.observe.shared_counters import SIZE, Family, MetricForm


class Totals:
    """``cells``: values by the places that ``families`` give them."""

    def __init__(self, families: Sequence[Family], cells: memoryview[float]) -> None:
        self.families = families
        self.cells = cells
        self._by_name = {family.name: family for family in families}

    @classmethod
    def of(
        cls, families: Sequence[Family], *, live: Iterable[memoryview[float]], ended: Iterable[memoryview[float]]
    ) -> Totals:
        """One page from many: counters and histograms from all of them, gauges from the live ones."""
        total = memoryview(bytearray(SIZE)).cast("d")
        alive = list(live)
        everybody = [*alive, *ended]
        for family in families:
            sources = alive if family.form in (MetricForm.SUM, MetricForm.MAX) else everybody
            for cell in range(family.start, family.start + family.cells):
                values = [cells[cell] for cells in sources]
                total[cell] = max(values, default=0.0) if family.form is MetricForm.MAX else sum(values)
        return cls(families, total)

    def sum(self, name: str, *labels: str) -> float:
        """The value of the series with these first labels, or of all such series together. Raises KeyError."""
        family = self._by_name[name]
        return sum(
            self.cells[family.start + place]
            for place, series in enumerate(family.series)
            if series[: len(labels)] == labels
        )

    def quantile(self, name: str, share: float, since: Totals) -> float | None:
        """The value below which ``share`` of what was observed after ``since`` lies; None if nothing was."""
        family = self._by_name[name]
        counts = [0.0] * (family.width - 1)
        for start in range(family.start, family.start + family.cells, family.width):
            for offset in range(family.width - 1):
                counts[offset] += self.cells[start + offset] - since.cells[start + offset]
        wanted = share * sum(counts)
        if wanted <= 0:
            return None
        passed = 0.0
        for count, (low, high) in zip(counts, pairwise((0.0, *family.bounds)), strict=False):
            if passed + count >= wanted:
                return low + (high - low) * (wanted - passed) / count
            passed += count
        return family.bounds[-1]
