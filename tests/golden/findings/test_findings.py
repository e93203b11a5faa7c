"""The rules find in the messages of this folder what they found when it was last meant to change."""

from __future__ import annotations

import pytest

from tests.golden.findings.compare import FEW, MANY, differences, found, golden, summary

REMEDY = (
    "see what differs: python -m tests.golden.findings.compare --against main; "
    "if it was meant to: python -m tests.golden.findings.compare --write"
)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.nightly)])
def test_findings_are_the_same(count: int) -> None:
    now = summary(found(count))
    assert len(now) > 20, "rules are missing"
    assert differences(golden()[str(count)], now) == [], REMEDY
