"""What the import contracts cannot say: decisions read no clock, folders stay small, class names are unique."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("config", "policy", "bounce", "mta")
PURE = (
    "mta/mail",
    "policy",
    "bounce",
    "mta/queue/active_queue.py",
    "mta/queue/ready_queue.py",
    "mta/queue/fair_queue.py",
    "mta/queue/throttle.py",
    "mta/queue/schedule.py",
    "mta/queue/outcome.py",
    "mta/reports/process.py",
    "mta/reports/attribution.py",
    "mta/reports/bounces.py",
    "mta/reports/complaints.py",
    "mta/store/results/report_actions.py",
)
CLOCKS = {"now", "utcnow", "today", "time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "sleep"}
CLOCK_OWNERS = {"datetime", "date", "time"}
EXCEPTIONS = {("mta/mail/identity.py", "time_ns")}  # message ids are UUIDs of version 7


def _files(place: str) -> Iterator[Path]:
    path = ROOT / place
    return iter([path]) if path.is_file() else path.rglob("*.py")


def _clock_calls(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and node.attr in CLOCKS
            and isinstance(node.value, ast.Name)
            and node.value.id in CLOCK_OWNERS
        ):
            yield str(path.relative_to(ROOT)), node.attr
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((str(path.relative_to(ROOT)), alias.name) for alias in node.names if alias.name in CLOCKS)


@pytest.mark.parametrize("place", PURE)
def test_decisions_read_no_clock(place: str) -> None:
    found = {call for path in _files(place) for call in _clock_calls(path)}
    assert found - EXCEPTIONS == set()


def test_the_clock_is_seen_where_it_is_read() -> None:
    """The check above is not blind."""
    assert any(_clock_calls(ROOT / "mta/queue/dispatcher.py"))
