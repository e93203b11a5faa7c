"""What receivers offer but do not master, remembered for a while.

*Limits.* Each worker finds it out for itself, and forgets it when it ends.
"""

from __future__ import annotations

import time
from enum import Enum, auto

HOLDS = 3600.0  # seconds; then the receiver gets another chance
MOST = 10_000  # addresses remembered


class Quirk(Enum):
    BROKEN_TLS = auto()
    BROKEN_PIPELINING = auto()


class Quirks:
    """By the receiver's address."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, Quirk], float] = {}

    def note(self, address: str, quirk: Quirk) -> None:
        self._until.pop((address, quirk), None)
        if len(self._until) >= MOST:
            del self._until[next(iter(self._until))]
        self._until[address, quirk] = time.monotonic() + HOLDS

    def has(self, address: str, quirk: Quirk) -> bool:
        return time.monotonic() < self._until.get((address, quirk), 0.0)
