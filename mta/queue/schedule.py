"""When a deferred delivery is tried again, and when it is given up.

Waits grow along a list and are spread at random, so that a crowd that failed together does not come back together.

Invariants: a clock that jumps does not bounce the queue: expiry also takes a number of attempts really made.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mta.mail.delivery import Delivery


@dataclass(frozen=True, slots=True)
class Schedule:
    """``waits``: seconds after the first, second ... failed attempt; the last one repeats. ``jitter``: 0 to 0.5.
    ``expiry``: False while no clock can be trusted: then nothing is given up for its age. ``longest``: seconds after
    which a delivery expires, whatever it asks for; None: no limit."""

    waits: Sequence[float]
    jitter: float = 0.1
    min_attempts: int = 1  # or a clock that jumps would bounce the queue
    expiry: bool = True
    longest: float | None = None

    def expires_at(self, delivery: Delivery) -> datetime:
        """Return when a delivery expires."""
        if self.longest is None:
            return delivery.expires_at
        return min(delivery.expires_at, delivery.queued_at + timedelta(seconds=self.longest))

    def next_attempt(self, attempts: int, now: datetime, expires_at: datetime) -> datetime:
        """Return when to try again after ``attempts`` (1 or more) failed ones; at the latest when it expires.

        What should have expired, and may not (``expiry``), waits as if it had no end.
        """
        wait = self.waits[min(attempts, len(self.waits)) - 1]
        wait *= 1 + random.uniform(-self.jitter, self.jitter)  # noqa: S311  spreads load, keeps no secret
        until = now + timedelta(seconds=wait)
        return min(until, expires_at) if now < expires_at else until

    def is_over(self, attempts: float, now: datetime, expires_at: datetime) -> bool:
        """Return whether to give up: the time is over, and enough attempts were made for that to mean something."""
        return self.expiry and now >= expires_at and attempts >= self.min_attempts
