"""When something has failed several times in a row, it is left alone for a while. ``now`` is monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BACKOFF = 3600.0


@dataclass(slots=True)
class Backoff:
    """``failures``: in a row. ``repeats``: backoffs without a success in between. Each of these is twice as long as the
    one before, and begins at the first failure."""

    until: float = 0.0
    failures: int = 0
    repeats: int = 0

    def active(self, now: float) -> bool:
        return now < self.until

    def failed(self, now: float, *, seconds: float, after: int = 1) -> bool:
        """Note a failure; return whether a backoff begins: the first after so many, for so many seconds."""
        self.failures += 1
        if self.failures < (1 if self.repeats else after) or self.active(now):
            return False
        self.until = now + min(MAX_BACKOFF, seconds * 2**self.repeats)
        self.repeats = min(self.repeats + 1, 16)
        self.failures = 0
        return True

    def end(self) -> None:
        """Forget all failures: it works, or is to be tried."""
        self.until, self.failures, self.repeats = 0.0, 0, 0
