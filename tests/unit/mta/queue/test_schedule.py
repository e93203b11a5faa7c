from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mta.queue.schedule import Schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=5)


def test_waits_grow_and_the_last_repeats() -> None:
    schedule = Schedule((60, 120, 600), jitter=0, min_attempts=1)
    waits = [(schedule.next_attempt(n, NOW, LATER) - NOW).total_seconds() for n in (1, 2, 3, 4, 50)]
    assert waits == [60, 120, 600, 600, 600]


def test_jitter_spreads_within_its_bounds() -> None:
    schedule = Schedule((100,), jitter=0.1, min_attempts=1)
    waits = [(schedule.next_attempt(1, NOW, LATER) - NOW).total_seconds() for _ in range(200)]
    assert 90 <= min(waits) < max(waits) <= 110


def test_never_later_than_expiry() -> None:
    schedule = Schedule((3600,), jitter=0, min_attempts=1)
    soon = NOW + timedelta(minutes=1)
    assert schedule.next_attempt(1, NOW, soon) == soon


def test_a_jumped_clock_alone_expires_nothing() -> None:
    schedule = Schedule((60,), jitter=0, min_attempts=2)
    assert not schedule.is_over(1, LATER + timedelta(days=100), LATER)
    assert schedule.is_over(2, LATER, LATER)
    assert not schedule.is_over(9, NOW, LATER)
