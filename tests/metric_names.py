"""The names of the metrics, as Prometheus shows them."""

from __future__ import annotations

from mta.observe.metrics import PREFIX
from mta.observe.shared_counters import Family, MetricType


def full_name(family: Family) -> str:
    """Return the name in the exposition, without the ``_bucket``, ``_sum`` and ``_count`` of histograms."""
    return f"{PREFIX}{family.name}_total" if family.type is MetricType.COUNTER else f"{PREFIX}{family.name}"
