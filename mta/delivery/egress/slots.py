"""Connections of one path: how many this worker may have open, and how many it has, idle and closing ones included.

Invariants: a connection counts from before it is begun until its socket is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

UNLIMITED = 1_000_000_000


class ConnectionSlots:
    """``most``: connections at once. ``peak``: the most that were open since it was reset. ``closed``: called when one
    has been closed."""

    __slots__ = ("_most", "_waiting", "closed", "open", "peak")

    def __init__(self, most: int = UNLIMITED, closed: Callable[[], None] = lambda: None) -> None:
        self._most, self.closed = most, closed
        self.open = self.peak = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def most(self) -> int:
        return self._most

    @most.setter
    def most(self, most: int) -> None:
        self._most = most
        self._wake()

    def take(self) -> bool:
        """Count one more connection; return False if there are too many."""
        if self.open >= self._most:
            return False
        self.open += 1
        self.peak = max(self.peak, self.open)
        return True

    def release(self) -> None:
        """Note that a connection has been closed."""
        self.open -= 1
        self._wake()
        self.closed()

    def when_free(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once there may be a free one."""
        self._waiting.append(wake)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()


class StartPermit(Protocol):
    """The right of an attempt to start messages at a site."""

    async def next(self) -> bool:
        """Wait until one more MAIL may be sent; return False if that would take too long."""

    def started(self) -> None:
        """Note that the receiver has answered MAIL, or can no longer get it."""
