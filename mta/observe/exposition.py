"""The combined metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mta.observe.metric_files import Totals, totals
from mta.observe.metrics import PREFIX
from mta.observe.shared_counters import Family, MetricType

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(run_dir: Path) -> bytes:
    """Return the combined metrics in the text format of Prometheus (CONTENT_TYPE)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(totals(run_dir)))
    return generate_latest(registry)


class _Collector(Collector):
    """Hands the totals to ``prometheus_client``."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Metric]:
        for family in self._totals.families:
            yield _export(family, self._totals.values)


def _export(family: Family, values: memoryview[float]) -> Metric:
    name = PREFIX + family.name
    if family.type is MetricType.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=family.labels)
        bounds = [*(str(bound) for bound in family.bounds), "+Inf"]
        for labels, start in zip(family.series, family.starts, strict=True):
            buckets, running = [], 0.0
            for offset, bound in enumerate(bounds):
                running += values[start + offset]
                buckets.append((bound, running))
            histogram.add_metric(labels, buckets, values[start + len(bounds)])
        return histogram
    kind = CounterMetricFamily if family.type is MetricType.COUNTER else GaugeMetricFamily
    single = kind(name, family.help, labels=family.labels)
    for labels, start in zip(family.series, family.starts, strict=True):
        single.add_metric(labels, values[start])
    return single
