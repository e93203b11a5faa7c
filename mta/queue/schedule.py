"""When a deferred delivery is tried again, and when it is given up.

Waits grow along a list and are spread at random, so that a crowd that failed together does not come back together.

Invariants: a clock that jumps does not bounce the queue: expiry also takes a number of attempts really made.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Schedule:
    """``waits``: seconds after the first, second ... failed attempt; the last one repeats. ``jitter``: 0 to 0.5."""

    waits: Sequence[float]
    jitter: float = 0.1
    min_attempts: int = 1  # or a clock that jumps would bounce the queue

    def next_attempt(self, attempts: int, now: datetime, expires_at: datetime) -> datetime:
        """Return when to try again after ``attempts`` (1 or more) failed ones; at the latest when it expires."""
        wait = self.waits[min(attempts, len(self.waits)) - 1]
        wait *= 1 + random.uniform(-self.jitter, self.jitter)  # noqa: S311  spreads load, keeps no secret
        return max(now, min(now + timedelta(seconds=wait), expires_at))

    def is_over(self, attempts: int, now: datetime, expires_at: datetime) -> bool:
        """Return whether to give up: the time is over, and enough attempts were made for that to mean something."""
        return now >= expires_at and attempts >= self.min_attempts
