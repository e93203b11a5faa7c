"""Connections that have nothing to do for a moment, kept for the next message to the same host.

It must never hand out a connection that is known to be dead, or on which the receiver has said something meanwhile.

*Limits.* A connection that died silently is found out by its next user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mta.delivery.session import DeliverySession, Key

QUIT_PATIENCE = 5.0  # seconds for the answer to QUIT
MOST = 2000  # idle connections kept by one worker


class Pool:
    """``idle``: seconds for which a connection is kept."""

    def __init__(self, idle: float) -> None:
        self.idle = idle
        self._sessions: dict[Key, list[tuple[float, DeliverySession]]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: Key) -> DeliverySession | None:
        """The connection used last; the others may then grow old."""
        waiting = self._sessions.get(key)
        while waiting:
            _, session = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._sessions[key]
            if session.wire.usable:
                return session
            leave(session)
        return None

    def has(self, keys: Iterable[Key]) -> bool:
        return any(key in self._sessions for key in keys)

    def put(self, session: DeliverySession) -> None:
        if self.idle <= 0 or self._count >= MOST or not session.wire.usable:
            leave(session)
            return
        loop = asyncio.get_running_loop()
        self._sessions.setdefault(session.key, []).append((loop.time(), session))
        self._count += 1
        if self._timer is None:
            self._timer = loop.call_later(self.idle, self._sweep)

    def _sweep(self) -> None:
        """Close what has waited too long; come back when the next one may have."""
        loop = asyncio.get_running_loop()
        oldest = self._close_until(loop.time() - self.idle)
        self._timer = None if oldest is None else loop.call_at(oldest + self.idle, self._sweep)

    def _close_until(self, limit: float) -> float | None:
        """The time from which the oldest of the kept ones waits."""
        oldest: float | None = None
        for key, waiting in list(self._sessions.items()):
            kept = []
            for since, session in waiting:
                if since > limit and session.wire.usable:
                    kept.append((since, session))
                else:
                    leave(session)
            self._count -= len(waiting) - len(kept)
            if kept:
                self._sessions[key] = kept
                oldest = kept[0][0] if oldest is None else min(oldest, kept[0][0])
            else:
                del self._sessions[key]
        return oldest

    async def close(self) -> None:
        """Take leave of all of them."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        leaving = [session for waiting in self._sessions.values() for _, session in waiting]
        self._sessions.clear()
        self._count = 0
        await asyncio.gather(*(session.wire.farewell(QUIT_PATIENCE) for session in leaving))


def leave(session: DeliverySession) -> None:
    """QUIT, without waiting for the answer here."""
    session.wire.quit(QUIT_PATIENCE)
