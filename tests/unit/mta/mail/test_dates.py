"""One rule for all parts of a Date."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.dates import DateError, read_date

NOON = datetime(2026, 11, 29, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 29 Nov 2026 09:30:00 +0000", "29 Nov 2026 09:30 GMT", "Sun,29 Nov 26 09:30:00 Z",
        "Sun, 29 Nov 2026 04:30:00 -0500 (EST (x))", "sun, 29 NOV 2026 04:30:00 EST", "Sun, 29 Nov 2026 09:30:00 UT",
        "Sun, 29 Nov 2026  09:29:60 -0000", "Sun, (x) 29 Nov 2026 09 : 30 : 00 +0000",
    ],
)  # fmt: skip
def test_legal_dates(value: str) -> None:
    assert read_date(value) == NOON


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("Sun, 29 Nov 2026 09:30:00 +02:00", 'zone such as `+0200` is expected at position 27 instead of "+02:00"'),
        ("Sun, 29 Nov 2026 09:30:00 GMT+2", 'zone such as `+0200` is expected at position 27 instead of "GMT+2"'),
        ("Sun, 29 Nov 2026 09:30:00", "zone such as `+0200` is expected at position 26"),
        ("Sun, 29 Nov 2026 09:30:00 CET", 'zone such as `+0200` is expected at position 27 instead of "CET"'),
        ("Sun, 29 Nov 2026 09:30:00 +0260", "zone such as"),
        ("So, 29 Nov 2026 09:30:00 +0000", "a name of a day such as `Sun,` is expected at position 1"),
        ("Sun 29 Nov 2026 09:30:00 +0000", "a name of a day such as `Sun,` is expected at position 1"),
        ("Sun, 29 Dez 2026 09:30:00 +0000", "a month such as `Nov` is expected at position 9"),
        ("Sun, 29 Nov 2026 09:30:61 +0000", "a time such as `09:30:00` is expected at position 18"),
        ("Sun, 29 Nov 2026 24:00:00 +0000", "a time such as `09:30:00` is expected at position 18"),
        ("2026-11-29T09:30:00Z", "a day of the month is expected at position 1"),
        ("Sun, 31 Nov 2026 09:30:00 +0000", "day is out of range for month"),
        ("x" * 200, "more than 100 characters"),
        ("", "expected at position 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(value: str, told: str) -> None:
    with pytest.raises(DateError, match=re.escape(told)):
        read_date(value)


@given(st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1)))
def test_reads_what_the_standard_library_writes(at: datetime) -> None:
    at = at.replace(microsecond=0, tzinfo=UTC)
    assert read_date(format_datetime(at)) == at
