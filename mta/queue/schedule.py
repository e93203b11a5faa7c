"""When a delivery is tried, and when it is given up.

Waits grow along a list and are spread at random, so that a crowd that failed together does not come back together.
A send window moves an attempt to the moment at which it opens. Windows go by the clock on the wall of their zone: a
local hour that a change of clocks skips opens nothing, and one that comes twice is open twice.

Invariants: a clock that jumps does not bounce the queue: expiry also takes a number of attempts really made.
Limitations: of two changes of a zone's clocks on one day, one is seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from mta.mail.delivery import DelayReason, Delivery
from mta.mail.message import ByMode
from mta.mail.values import dataclass

HORIZON = 15  # days within which a window opens: each week, and the next one where a change of clocks skips it
DAY = 24 * 60  # minutes


class WeekHours(NamedTuple):
    """The same hours on some days of the week. ``days``: 0 is Monday. ``start`` and ``end``: minutes from the midnight
    that these days begin with, ``end`` excluded and perhaps on the next day."""

    days: frozenset[int]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When mail may leave: within any of ``hours``, in local time."""

    name: str
    hours: tuple[WeekHours, ...]
    zone: ZoneInfo

    def is_open(self, now: datetime) -> bool:
        local = now.astimezone(self.zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        return any(
            (today in each.days and each.start <= minute < each.end)
            or ((today - 1) % 7 in each.days and minute < each.end - DAY)
            for each in self.hours
        )

    def opens_at(self, now: datetime) -> datetime | None:
        """Return ``now`` if it is open, else when it opens next; None: not within HORIZON."""
        if self.is_open(now):
            return now
        openings = (each for each in self._may_open(now.astimezone(self.zone).date()) if each > now)
        return next((each for each in sorted(openings) if self.is_open(each)), None)

    def _may_open(self, today: date) -> Iterator[datetime]:
        """Yield, in UTC, when it could open: at the start of its hours, and when clocks are changed."""
        for n in range(-1, HORIZON):
            day = today + timedelta(days=n)
            for each in self.hours:
                if day.weekday() in each.days:
                    start = datetime.combine(day, time(*divmod(each.start, 60)), self.zone)
                    yield from (start.astimezone(UTC), start.replace(fold=1).astimezone(UTC))
            if changed := _clock_change(day, self.zone):
                yield changed


def _clock_change(day: date, zone: ZoneInfo) -> datetime | None:
    """Return when the clocks of ``zone`` are changed on ``day``, in UTC; None: they are not."""
    first = datetime.combine(day, time(), zone).astimezone(UTC)
    last = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    before = first.astimezone(zone).utcoffset()
    if last.astimezone(zone).utcoffset() == before:
        return None
    low, high = int(first.timestamp()), int(last.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def next_open(windows: Sequence[SendWindow], at: datetime) -> datetime | None:
    """Return the first moment from ``at`` on at which all ``windows`` are open; None: there is none within HORIZON."""
    end, found = at + timedelta(days=HORIZON), at
    while found <= end:
        opens = [window.opens_at(found) for window in windows]
        latest = found
        for each in opens:
            if each is None:
                return None
            latest = max(latest, each)
        if latest == found:
            return found
        found = latest
    return None


@dataclass(frozen=True, slots=True)
class Schedule:
    """``waits``: seconds after the first, second ... failed attempt; the last one repeats. ``jitter``: 0 to 0.5.
    ``expiry``: False while no clock can be trusted: then nothing is given up for its age. ``longest``: seconds after
    which a delivery expires, whatever it asks for; None: no limit. ``windows``: in which attempts are made."""

    waits: Sequence[float]
    jitter: float = 0.1
    expiry: bool = True
    longest: float | None = None
    windows: tuple[SendWindow, ...] = ()

    def expires_at(self, delivery: Delivery) -> datetime:
        """Return when a delivery expires."""
        if self.longest is None:
            return delivery.expires_at
        return min(delivery.expires_at, delivery.since + timedelta(seconds=self.longest))

    def next_attempt(
        self, attempts: int, now: datetime, expires_at: datetime, deadline: datetime | None = None
    ) -> tuple[datetime, DelayReason | None]:
        """Return when to try again after ``attempts`` (1 or more) failed ones, and why then if a window says so; at the
        latest when it expires, and at ``deadline``, when the sender is to be told of the delay.

        What should have expired, and may not (``expiry``), waits as if it had no end.
        """
        wait = self.waits[min(attempts, len(self.waits)) - 1]
        wait *= 1 + random.uniform(-self.jitter, self.jitter)  # noqa: S311  spreads load, keeps no secret
        until, reason = now + timedelta(seconds=wait), None
        if deadline and now < deadline < until:
            until = deadline
        if self.windows and (opens := next_open(self.windows, until) or expires_at) > until:
            until, reason = opens, DelayReason.SEND_WINDOW
        if now < expires_at < until:
            return expires_at, None
        return until, reason

    def is_over(self, now: datetime, expires_at: datetime) -> bool:
        """Return whether the time is over, as far as a clock can be trusted."""
        return self.expiry and now >= expires_at


def is_too_late(delivery: Delivery, now: datetime) -> bool:
    """Return whether the sender wants ``delivery`` back by now (RFC 2852 4), tried or not."""
    by = delivery.deliver_by
    return by is not None and by.mode is ByMode.RETURN and now >= by.deadline


def notice_due_at(delivery: Delivery) -> datetime | None:
    """Return when the sender is to be told that ``delivery`` is late, by its own wish (RFC 2852 4)."""
    by = delivery.deliver_by
    return by.deadline if by and by.mode is ByMode.NOTIFY else None
