"""How hard one site may be pressed at this moment.

The window of connections starts small, grows by one with each message that gets through (slow start), and is halved
when connecting fails. After several failures in a row the whole site rests; each further rest is twice as long.
Only failures of the connection count: a refused recipient says nothing about the site's health.

It must never read a clock: ``now`` is monotonic seconds.

*Limits.* Each worker has its own window; ``ceiling`` is this worker's share of what the site may get in all.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_REST = 3600.0


@dataclass(slots=True)
class Throttle:
    """``ceiling``: most connections. ``rate``: most messages a second, None for no limit."""

    ceiling: int
    initial: int
    rest: float  # seconds
    rest_after: int  # failures in a row
    rate: float | None = None
    window: int = 0
    failures: int = 0
    rests: int = 0
    resting_until: float = 0.0
    next_start: float = 0.0

    def __post_init__(self) -> None:
        self.window = min(self.initial, self.ceiling)

    def allowed(self, now: float) -> int:
        """Connections that may be in use now."""
        return 0 if self.is_resting(now) else min(self.window, self.ceiling)

    def is_resting(self, now: float) -> bool:
        return now < self.resting_until

    def wait(self, now: float) -> float:
        """Seconds until the next message may start; 0: now, and that start is taken."""
        if self.rate is None:
            return 0.0
        if now < self.next_start:
            return self.next_start - now
        interval = 1 / self.rate
        on_time = now - self.next_start < interval  # a little late is made up for
        self.next_start = (self.next_start if on_time else now) + interval
        return 0.0

    def succeeded(self) -> None:
        """The site talked with us to the end, whatever it said about the message."""
        self.failures = self.rests = 0
        if self.window < self.ceiling:
            self.window += 1

    def failed(self, now: float) -> bool:
        """The connection failed. True if the site now goes to rest."""
        self.failures += 1
        self.window = max(1, self.window // 2)
        if self.failures < self.rest_after or self.is_resting(now):
            return False
        self.resting_until = now + min(MAX_REST, self.rest * 2**self.rests)
        self.rests = min(self.rests + 1, 16)
        self.failures = 0
        self.window = 1
        return True

    def reshape(self, limits: Throttle) -> None:
        """Take over the limits of another (a reload); what was learned about the site stays."""
        self.ceiling, self.initial, self.rate = limits.ceiling, limits.initial, limits.rate
        self.rest, self.rest_after = limits.rest, limits.rest_after
        self.window = max(1, min(self.window, self.ceiling))
