"""How much load one egress path may carry at this moment.

The number of connections starts small, grows by one with each message that gets through (slow start), and is halved
when the path fails: the site cannot be reached, or says that it gets too much. After several failures in a row the path
is in backoff. If the first try after that fails, the next backoff begins, twice as long. A rejected recipient says
nothing about the site's health. ``now`` is monotonic seconds.

Limitations: each worker counts its own connections and messages; ``ceiling`` and ``rates`` are its share of what the
path may carry in total.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from config.types import rate_limit
from mta.delivery.backoff import Backoff

PARTS = 50  # of a window; starts within one of them are counted together


@dataclass(slots=True)
class _Part:
    """Starts close together, which leave the window together: when the last of them does."""

    first: float
    last: float
    starts: int = 1


class SlidingWindow:
    """At most ``most`` starts in any ``seconds`` on end, whenever they begin."""

    __slots__ = ("_parts", "_started", "most", "seconds")

    def __init__(self, most: int, seconds: float) -> None:
        self.most, self.seconds = most, seconds
        self._parts: deque[_Part] = deque()
        self._started = 0

    @classmethod
    def share(cls, text: str, workers: int) -> SlidingWindow:
        """Read a RateLimit and return one worker's share of it, of at least one start."""
        most, seconds = rate_limit(text)
        return cls(most // workers, seconds) if most >= workers else cls(1, seconds * workers / most)

    def wait(self, now: float) -> float:
        """Return the seconds until one more may start."""
        while self._parts and self._parts[0].last <= now - self.seconds:
            self._started -= self._parts.popleft().starts
        return 0.0 if self._started < self.most else self._parts[0].last + self.seconds - now

    def start(self, now: float) -> None:
        """Count a start."""
        self._started += 1
        part = self._parts[-1] if self._parts else None
        if part and now - part.first < self.seconds / PARTS:
            part.last, part.starts = now, part.starts + 1
        else:
            self._parts.append(_Part(now, now))


@dataclass(slots=True)
class Throttle:
    """``ceiling``: most connections. ``rates``: which all hold. ``limit``: connections allowed now."""

    ceiling: int
    initial: int
    backoff: float  # seconds
    backoff_after: int  # failures in a row
    rates: tuple[SlidingWindow, ...] = ()
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

    def wait(self, now: float) -> float:
        """Return the seconds until the next message may start; 0: now, and that start is taken."""
        if not self.rates:
            return 0.0
        if wait := max(window.wait(now) for window in self.rates):
            return wait
        for window in self.rates:
            window.start(now)
        return 0.0

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
        if [(each.most, each.seconds) for each in self.rates] != [(each.most, each.seconds) for each in limits.rates]:
            self.rates = limits.rates
        self.backoff, self.backoff_after = limits.backoff, limits.backoff_after
        self.limit = max(1, min(self.limit, self.ceiling))
