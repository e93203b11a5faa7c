"""How much load one egress path may carry at this moment.

The number of connections starts small, grows by one with each message that gets through (slow start), and is halved
when the path fails: the site cannot be reached, or says that it gets too much. After several failures in a row the path
is in backoff. If the first try after that fails, the next backoff begins, twice as long. A rejected recipient says
nothing about the site's health. ``now`` is monotonic seconds.

Limitations: each worker learns for itself. What all of them together may have is not decided here, but by
``path_limits``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mta.delivery.backoff import Backoff


@dataclass(slots=True)
class Throttle:
    """``ceiling``: most connections. ``limit``: connections allowed now."""

    ceiling: int
    initial: int
    backoff: float  # seconds
    backoff_after: int  # failures in a row
    limit: int = 0
    site: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        self.limit = min(self.initial, self.ceiling)

    def allowed(self, now: float) -> int:
        """Return how many connections may be in use now."""
        return 0 if self.in_backoff(now) else min(self.limit, self.ceiling)

    def in_backoff(self, now: float) -> bool:
        return self.site.active(now)

    def backoff_left(self, now: float) -> float:
        """Return the seconds until the backoff ends."""
        return max(0.0, self.site.until - now)

    def succeeded(self) -> None:
        """Note that the site kept up the dialogue, whatever it said about the message."""
        self.site.end()
        if self.limit < self.ceiling:
            self.limit += 1

    def failed(self, now: float) -> bool:
        """Note that the site failed; return whether a backoff starts now."""
        self.limit = max(1, self.limit // 2)
        if not self.site.failed(now, seconds=self.backoff, after=self.backoff_after):
            return False
        self.limit = 1
        return True

    def restart(self) -> None:
        """Let one connection try first, as after a backoff."""
        self.limit = 1

    def resume(self) -> None:
        """End the backoff; one connection tries first."""
        self.site.end()

    def reshape(self, limits: Throttle) -> None:
        """Take over the limits of another throttle (a reload); what was learned about the site stays."""
        self.ceiling, self.initial = limits.ceiling, limits.initial
        self.backoff, self.backoff_after = limits.backoff, limits.backoff_after
        self.limit = max(1, min(self.limit, self.ceiling))
