"""The metrics of all processes of this machine, combined: for Prometheus, the pages and ``mta top``.

``prepare`` empties the directory when the service starts. Each process then counts in a file of its own
(``Metrics.open``), ``totals`` combines all files, and ``mark_dead`` adds the counts of an ended process to a common
file and removes its own.

Limitations: A worker that runs other code than the rest (files upgraded under a running service) is left out until
everything is restarted.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from mta.observe.metrics import PROVIDERS_FILE, Metrics, read_providers
from mta.observe.shared_counters import SIZE, Family, MetricType, create_file, read_file


class Totals:
    """The combined values of several processes. ``values``: by the slots of ``families``."""

    def __init__(self, families: Sequence[Family], values: memoryview[float]) -> None:
        self.families = families
        self.values = values
        self._by_name = {family.name: family for family in families}

    @classmethod
    def of(
        cls,
        families: Sequence[Family],
        *,
        live: Iterable[memoryview[float]] = (),
        ended: Iterable[memoryview[float]] = (),
    ) -> Totals:
        """Combine counters and histograms of all processes, and gauges of the live ones."""
        combined = memoryview(bytearray(SIZE)).cast("d")
        alive = list(live)
        everything = [*alive, *ended]
        for family in families:
            sources = alive if family.type in (MetricType.SUM, MetricType.MAX) else everything
            for slot in family.slots:
                values = [source[slot] for source in sources]
                combined[slot] = max(values, default=0.0) if family.type is MetricType.MAX else sum(values)
        return cls(families, combined)

    def sum(self, name: str, *labels: str) -> float:
        """Return the sum of all series whose first labels are ``labels``. Raises KeyError."""
        family = self._by_name[name]
        return sum(
            self.values[start]
            for start, series in zip(family.starts, family.series, strict=True)
            if series[: len(labels)] == labels
        )

    def quantile(self, name: str, share: float, since: Totals) -> float | None:
        """Return the ``share`` quantile of the observations made after ``since``; None if there were none.

        Limitations: interpolated between the bounds of the buckets, as Prometheus does.
        """
        family = self._by_name[name]
        counts = [0.0] * (family.width - 1)
        for start in family.starts:
            for offset in range(family.width - 1):
                counts[offset] += self.values[start + offset] - since.values[start + offset]
        wanted = share * sum(counts)
        if wanted <= 0:
            return None
        passed = 0.0
        for count, (low, high) in zip(counts, pairwise((0.0, *family.bounds)), strict=False):
            if passed + count >= wanted:
                return low + (high - low) * (wanted - passed) / count
            passed += count
        return family.bounds[-1]


def prepare(run_dir: Path, providers: Sequence[str] = ()) -> None:
    """Reset all metrics. Called once, when the service starts and before any of its processes does. ``providers``: the
    groups that receivers are counted by.

    The directory gets the owner of ``run_dir``, which is the user that the unprivileged processes run as.
    """
    directory = run_dir / "metrics"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        owner = run_dir.stat()
        os.chown(directory, owner.st_uid, owner.st_gid, follow_symlinks=False)
    for path in (*directory.glob("*.counters"), directory / PROVIDERS_FILE):
        path.unlink(missing_ok=True)
    _write_providers(directory, providers)


def add_providers(run_dir: Path, providers: Sequence[str]) -> None:
    """Let groups that a reload has added be counted as well; then every process must ``count_providers``."""
    known = read_providers(run_dir)
    _write_providers(run_dir / "metrics", [*known, *(name for name in providers if name not in known)])


def _write_providers(directory: Path, providers: Sequence[str]) -> None:
    draft = directory / f"{PROVIDERS_FILE}.new"
    draft.unlink(missing_ok=True)
    with open(create_file(draft), "w") as file:
        json.dump(list(providers), file)
    draft.replace(directory / PROVIDERS_FILE)


def mark_dead(run_dir: Path, pid: int) -> None:
    """Keep the counts of the ended process ``pid``, drop its gauges, and remove its file."""
    counters = Metrics(providers=read_providers(run_dir)).counters
    directory = run_dir / "metrics"
    with _locked(directory):
        for path in directory.glob(f"{pid}-*{counters.suffix}"):
            common = directory / f"ended{counters.suffix}"
            total = Totals.of(counters.families, ended=_read([common, path]))
            draft = common.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with open(create_file(draft), "wb") as file:
                file.write(total.values.tobytes())
            draft.replace(common)
            path.unlink(missing_ok=True)


def totals(run_dir: Path) -> Totals:
    """Return the combined metrics as they are now, zero if the service never ran here. Raises PermissionError."""
    counters = Metrics(providers=read_providers(run_dir)).counters
    directory = run_dir / "metrics"
    if not directory.is_dir():
        return Totals.of(counters.families)
    with _locked(directory):
        ended, live = _read([directory / f"ended{counters.suffix}"]), _read(directory.glob(f"*-*{counters.suffix}"))
    return Totals.of(counters.families, live=live, ended=ended)


def _read(paths: Iterable[Path]) -> list[memoryview[float]]:
    return [values for path in paths if (values := read_file(path)) is not None]


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep readers from counting a process twice, in the common file and in its own, while it is folded in."""
    fd = create_file(directory / "lock", flags=0)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
