from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from mta.mail.delivery import DelayReason
from mta.queue.schedule import DAY, Schedule, SendWindow, WeekHours, next_open

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=5)


def test_waits_grow_and_the_last_repeats() -> None:
    schedule = Schedule((60, 120, 600), jitter=0)
    waits = [(schedule.next_attempt(n, NOW, LATER)[0] - NOW).total_seconds() for n in (1, 2, 3, 4, 50)]
    assert waits == [60, 120, 600, 600, 600]


def test_jitter_spreads_within_its_bounds() -> None:
    schedule = Schedule((100,), jitter=0.1)
    waits = [(schedule.next_attempt(1, NOW, LATER)[0] - NOW).total_seconds() for _ in range(200)]
    assert 90 <= min(waits) < max(waits) <= 110


def test_never_later_than_expiry() -> None:
    schedule = Schedule((3600,), jitter=0)
    soon = NOW + timedelta(minutes=1)
    assert schedule.next_attempt(1, NOW, soon) == (soon, None)


def test_nothing_is_over_before_its_time_or_while_no_clock_is_trusted() -> None:
    schedule = Schedule((60,), jitter=0)
    assert schedule.is_over(LATER, LATER)
    assert not schedule.is_over(NOW, LATER)
    assert not replace(schedule, expiry=False).is_over(LATER, LATER)


# --- send windows

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # half an hour of summer time
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Santiago",  # clocks change at midnight
)
MINUTE = timedelta(minutes=1)


@st.composite
def hours(draw: st.DrawFn) -> WeekHours:
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    start = draw(st.integers(0, DAY - 1))
    return WeekHours(days, start, start + draw(st.integers(1, DAY)))


@st.composite
def windows(draw: st.DrawFn) -> SendWindow:
    spans = draw(st.lists(hours(), min_size=1, max_size=3))
    return SendWindow("w", tuple(spans), ZoneInfo(draw(st.sampled_from(ZONES))))


# Whole minutes, often within some hours of a change of clocks.
CHANGES = [
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 9, 6, 4, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
]
MOMENTS = st.one_of(
    st.builds(lambda change, n: change + n * MINUTE, st.sampled_from(CHANGES), st.integers(-600, 600)),
    st.integers(0, 366 * DAY).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + n * MINUTE),
)


def on_the_wall(window: SendWindow, moment: datetime) -> bool:
    """Whether the local day and time are within the hours, counted minute by minute of a week."""
    local = moment.astimezone(window.zone)
    at = local.weekday() * DAY + local.hour * 60 + local.minute
    for each in window.hours:
        for day in each.days:
            if (at - day * DAY - each.start) % (7 * DAY) < each.end - each.start:
                return True
    return False


@given(windows(), MOMENTS)
def test_a_window_is_open_by_the_clock_on_the_wall(window: SendWindow, now: datetime) -> None:
    assert window.is_open(now) == on_the_wall(window, now)


@given(windows(), MOMENTS)
def test_it_opens_at_the_first_moment_at_which_it_is_open(window: SendWindow, now: datetime) -> None:
    opens = window.opens_at(now)
    assert opens is not None
    assert opens >= now
    assert on_the_wall(window, opens)
    before = min(int((opens - now) / MINUTE), 1500)
    assert not any(on_the_wall(window, opens - n * MINUTE) for n in range(1, before + 1))


@given(st.lists(windows(), min_size=1, max_size=3), MOMENTS)
def test_several_windows_are_open_together(several: list[SendWindow], now: datetime) -> None:
    opens = next_open(several, now)
    if opens is None:
        looked = (now + n * 30 * MINUTE for n in range(14 * 48))
        assert not any(all(on_the_wall(window, moment) for window in several) for moment in looked)
    else:
        assert all(on_the_wall(window, opens) for window in several)
        before = min(int((opens - now) / MINUTE), 600)
        closed = (opens - n * MINUTE for n in range(1, before + 1))
        assert not any(all(on_the_wall(window, moment) for window in several) for moment in closed)


@given(st.lists(windows(), max_size=2), MOMENTS, st.integers(0, 20 * DAY), st.integers(1, 3))
def test_a_next_attempt_is_in_the_window_or_the_last(
    several: list[SendWindow], now: datetime, left: int, attempts: int
) -> None:
    expires_at = now + left * MINUTE
    until, reason = Schedule((600, 7200), windows=tuple(several)).next_attempt(attempts, now, expires_at)
    if now < expires_at:
        assert now < until <= expires_at
        assert until == expires_at or all(window.is_open(until) for window in several)
    assert (reason is DelayReason.SEND_WINDOW) <= bool(several)


def test_a_deadline_brings_the_attempt_forward_that_tells_the_sender() -> None:
    deadline = NOW + timedelta(minutes=30)
    schedule = Schedule((3600,), jitter=0)
    assert schedule.next_attempt(1, NOW, LATER, deadline) == (deadline, None)
    assert schedule.next_attempt(1, deadline, LATER, deadline) == (deadline + timedelta(hours=1), None)
