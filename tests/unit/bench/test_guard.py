"""The guard's inputs work, and a rise is seen."""

from __future__ import annotations

import json

import pytest

from bench.guard import KEPT, compared, functions, missing


@pytest.mark.parametrize("name", sorted(functions()))
def test_each_function_runs_and_has_a_number(name: str) -> None:
    assert functions()[name]() != ""
    assert json.loads(KEPT.read_text())["instructions"][name] > 10_000


def test_a_rise_of_more_than_five_percent_is_told() -> None:
    lines, risen = compared({"a": 1000, "b": 1000, "c": 1000}, {"a": 1050, "b": 1051})
    assert risen == ["b", "c"]
    assert len(lines) == 3


def test_numbers_of_another_python_are_not_compared() -> None:
    assert "Python 2.0" in missing("2.0")
