"""The times at which messages are to be released."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.release_time import ReleaseTimeError, in_words, parse_release_time, release_fault

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01T08:00:00Z", "2026-12-01T08:00"),
        ("2026-12-01t08:00:00.25z", "2026-12-01T08:00:00.25"),
        ("2026-12-01T09:00+01:00", "2026-12-01T08:00"),
        ("2026-12-01 09:00:00-05:30", "2026-12-01T14:30"),
        ("2026-12-01T09:00 Europe/Berlin", "2026-12-01T08:00"),
        ("2026-07-01T09:00 Europe/Berlin", "2026-07-01T07:00"),
        ("2026-12-01 09:00 UTC", "2026-12-01T09:00"),
        ("2026-03-29T02:30 Europe/Berlin", "2026-03-29T01:30"),  # skipped: 03:30 summer time
        ("2026-10-25T02:30 Europe/Berlin", "2026-10-25T00:30"),  # twice: the first
    ],
)
def test_what_is_understood(text: str, utc: str) -> None:
    assert parse_release_time(text) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no date and time"),
        ("tomorrow", "is no date and time"),
        ("2026-12-01", "is no date and time"),
        ("2026-12-01T09:00", "is no date and time with its offset"),
        ("20261201T0900Z", "is no date and time"),
        ("1796108400", "is no date and time"),
        ("2026-02-30T09:00Z", "does not exist"),
        ("2026-12-01T25:00Z", "does not exist"),
        ("0001-01-01T00:00+14:00", "does not exist"),
        ("2026-12-01T09:00 Mars/Olympus", "unknown time zone, Mars/Olympus"),
        ("2026-12-01T09:00 ../../etc/passwd", "is no date and time"),
        ("2026-12-01T09:00 /etc/passwd", "unknown time zone"),
        ("2026-12-01T09:00 Europe", "unknown time zone"),
    ],
)
def test_what_is_not(text: str, why: str) -> None:
    with pytest.raises(ReleaseTimeError, match=why):
        parse_release_time(text)


def test_past_and_far_times_have_a_way_out() -> None:
    month = 30 * 86400.0
    assert release_fault(NOW + timedelta(days=30), NOW, month) is None
    assert release_fault(NOW - timedelta(minutes=5), NOW, month) is None
    past = release_fault(NOW - timedelta(minutes=6), NOW, month)
    assert past == "this time is past (2026-03-01T11:54:00Z, and it is 2026-03-01T12:00:00Z); give a later one, or none"
    far = release_fault(NOW + timedelta(days=31), NOW, month)
    assert far is not None
    assert far.startswith("messages are held for at most 30 days, now until 2026-03-31T12:00:00Z; give an earlier time")
    assert [in_words(each) for each in (86400, 7200, 90, 1)] == ["1 day", "2 hours", "90 seconds", "1 second"]
