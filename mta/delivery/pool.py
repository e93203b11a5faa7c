"""Idle sessions with receivers, kept for the next message.

Invariants: the pool never hands out a session that is known to be dead, or on which the receiver has sent something
unasked.
Limitations: a connection that died silently is found out by its next user.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count

from mta.delivery.delivery_session import DeliverySession, SessionKey

QUIT_TIMEOUT = 5.0  # seconds for the reply to QUIT
MAX_IDLE = 2000  # idle sessions kept by one worker
_numbers = count(1)


class Pool:
    """Idle sessions, kept for the next message to the same host."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, list[DeliverySession]] = {}  # those used last at the end
        self._count = 0
        self._watched: list[tuple[float, int, DeliverySession]] = []  # a heap, by when each is to be looked at
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: SessionKey) -> DeliverySession | None:
        """Return the session used last; the others may then grow old."""
        waiting = self._sessions.get(key)
        while waiting:
            session = waiting.pop()
            self._count -= 1
            session.idle_until = None
            if not waiting:
                del self._sessions[key]
            if session.protocol.usable:
                return session
            quit_session(session)
        return None

    def has(self, key: SessionKey) -> bool:
        return key in self._sessions

    def put(self, session: DeliverySession, idle: float) -> None:
        """Keep a session for ``idle`` seconds."""
        if idle <= 0 or self._count >= MAX_IDLE or not session.protocol.usable:
            quit_session(session)
            return
        session.idle_until = until = asyncio.get_running_loop().time() + idle
        self._sessions.setdefault(session.key, []).append(session)
        self._count += 1
        if not session.watched:
            self._watch(session, until)

    def close_idle(self, source: str, site: str, most: int | None = None) -> None:
        """Close the sessions of a path, ``most`` of them at most, those first that have been idle longest."""
        idle = [
            session
            for key, waiting in self._sessions.items()
            if key.site == site and key.source.name == source
            for session in waiting
        ]
        for session in sorted(idle, key=_end)[:most]:
            self._close(session)

    def drop_oldest(self) -> None:
        """Close a session whose end is near: its descriptor is needed."""
        if self._sessions:
            self._close(min((waiting[0] for waiting in self._sessions.values()), key=_end))

    def close_all(self) -> None:
        """Close every session now, without waiting for the reply to QUIT."""
        for session in self._pop_all():
            quit_session(session)
            session.protocol.abort()

    async def close(self) -> None:
        """End all sessions with QUIT."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        await asyncio.gather(*(session.protocol.wait_quit(QUIT_TIMEOUT) for session in self._pop_all()))

    def _pop_all(self) -> list[DeliverySession]:
        idle = [session for waiting in self._sessions.values() for session in waiting]
        for session in idle:
            session.idle_until = None
        self._sessions.clear()
        self._count = 0
        return idle

    def _close(self, session: DeliverySession) -> None:
        waiting = self._sessions[session.key]
        waiting.remove(session)
        self._count -= 1
        if not waiting:
            del self._sessions[session.key]
        session.idle_until = None
        quit_session(session)

    # --- time: each session is looked at when it may have been idle too long, however often it is used meanwhile

    def _watch(self, session: DeliverySession, until: float) -> None:
        session.watched = True
        heappush(self._watched, (until, next(_numbers), session))
        self._wake_at(until)

    def _wake_at(self, when: float) -> None:
        """See to it that ``_sweep`` runs at ``when``, or before."""
        if self._timer is not None and self._timer.when() <= when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle too long; come back when the next one may have been."""
        self._timer, now = None, asyncio.get_running_loop().time()
        while self._watched and self._watched[0][0] <= now:
            _, _, session = heappop(self._watched)
            session.watched = False
            if session.idle_until is None:
                continue
            if session.idle_until <= now or not session.protocol.usable:
                self._close(session)
            else:
                self._watch(session, session.idle_until)
        if self._watched:
            self._wake_at(self._watched[0][0])


def _end(session: DeliverySession) -> float:
    return session.idle_until or 0.0


def quit_session(session: DeliverySession) -> None:
    """Send QUIT, without waiting for the reply here."""
    session.protocol.quit(QUIT_TIMEOUT)
