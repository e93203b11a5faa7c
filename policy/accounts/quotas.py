"""How much may still be sent: quotas per day or month, and rates; and how much of that to lease at once.

The state is kept in one place for all machines. A worker leases blocks from it, so that it need not
ask for each message. ``lend`` alone decides what a worker gets, under the lock of the state's owner.

Invariants: no more than the limit is leased: a block counts as used until it is returned.

Limitations: blocks leased by others and not used are missing until returned. So blocks shrink towards the end of a
quota.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import ceil, floor
from typing import ClassVar

from policy.accounts.account import Account

BLOCK = 16  # part of what is left of a quota that is lent at once
GULP = 8  # part of what a rate allows at this moment that is lent at once
STRETCH = 0.25  # seconds for which a rate is lent at least
SECOND = 1_000_000  # microseconds


class Span(Enum):
    """What a quota counts over, by the calendar of UTC."""

    DAY = "day"
    MONTH = "month"

    def start(self, now: datetime) -> datetime:
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if self is Span.DAY else midnight.replace(day=1)


@dataclass(frozen=True, slots=True)
class Loan:
    """``granted``: lent now. ``left``: could be lent to others after that. ``state``: to be kept.

    ``wait``: seconds until there is something to lend again, 0 if there is.
    """

    granted: int
    left: int
    state: int
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Quota:
    """At most ``limit`` in the window that began at ``since``. The state is how many were lent."""

    scope: str
    since: datetime
    limit: int

    def lend(self, state: int, wanted: int, now: int) -> Loan:
        """At least ``wanted``, or nothing."""
        free = max(0, self.limit - state)
        granted = 0 if free < wanted else min(free, max(wanted, free // BLOCK))
        return Loan(granted, free - granted, state + granted)

    def brought_back(self, number: int) -> int:
        """By how much the state changes when ``number`` were not used."""
        return -number


@dataclass(frozen=True, slots=True)
class Rate:
    """``rate`` a second, ``burst`` at once. The state is the moment, in microseconds since 1970, at which all that was
    lent is made up for: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371)."""

    since: ClassVar[datetime] = datetime.fromtimestamp(0, UTC)  # a rate has no window

    scope: str
    rate: float
    burst: int

    def lend(self, state: int, wanted: int, now: int) -> Loan:
        """What is allowed at this moment, up to ``wanted`` or a block, whichever is more. ``now`` as the state."""
        ahead = max(0, state - now)
        allowed = max(0, floor(self.burst - ahead * self.rate / SECOND))
        granted = min(allowed, max(wanted, ceil(self.rate * STRETCH), allowed // GULP))
        wait = 0.0 if granted else ahead / SECOND - (self.burst - 1) / self.rate
        return Loan(granted, allowed - granted, self.owing(state, granted, now), wait)

    def owing(self, state: int, number: int, now: int) -> int:
        """The state after ``number`` more were used, whether they were allowed or not."""
        return max(state, now) + ceil(number * SECOND / self.rate)

    def brought_back(self, number: int) -> int:
        """By how much the state changes when ``number`` were not used."""
        return -floor(number * SECOND / self.rate)


Limit = Quota | Rate


def quotas_of(account: Account, now: datetime) -> tuple[Quota, ...]:
    """What holds for an account's recipients now; empty without quotas."""
    limits = ((Span.DAY, account.quotas.day), (Span.MONTH, account.quotas.month))
    return tuple(
        Quota(f"account:{account.id}:{span.value}", span.start(now), limit)
        for span, limit in limits
        if limit is not None
    )
