"""Connections that are kept and shared: as few as the callers do with, at most so many.

The server has a process of 8 MiB for each connection. So a caller that finds all in use waits a moment for one of
them, and another is opened only if none came back by then: quick calls share one, and slow ones delay the others by no
more than that moment.

Invariants: callers are served in the order in which they came; a connection is used by one caller at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import asyncpg

GROW_AFTER = 0.05  # seconds that a caller waits for one that is in use
UNUSED = 15.0  # seconds after which a connection is closed

Connection = asyncpg.Connection
Waiting = tuple[asyncio.Future[Connection | None], float]  # since when, on the loop's clock


class ConnectionPool:
    """At most ``size`` connections, made by ``make``."""

    def __init__(self, size: int, make: Callable[[], Awaitable[Connection]]) -> None:
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._held = 0  # connections in use, or being opened
        self._opening = 0
        self._idle: deque[tuple[float, Connection]] = deque()  # since when; the latest at the right
        self._waiting: deque[Waiting] = deque()
        self._growth: asyncio.TimerHandle | None = None

    async def take(self) -> Connection:
        """Return a connection, to be given back by ``give_back`` or ``drop``. Raises what ``make`` raises."""
        await self._free.acquire()
        try:
            if (connection := self._pop_idle()) or not self._held:
                self._held += 1
            else:
                connection = await self._wait()
            try:
                return connection or await self._open()
            except BaseException:
                self._held -= 1
                raise
        except BaseException:
            self._free.release()
            raise

    async def take_idle(self) -> Connection | None:
        """Return a connection that no one uses, without a wait; None if there is none."""
        if not self._idle or self._free.locked():
            return None
        await self._free.acquire()
        if connection := self._pop_idle():
            self._held += 1
            return connection
        self._free.release()
        return None

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            return await self._make()
        finally:
            self._opening -= 1

    def give_back(self, connection: Connection) -> None:
        """Take back a connection that can be used again."""
        self._free.release()
        self._pass_on(connection)

    def drop(self, connection: Connection) -> None:
        """End a connection that must not be used again."""
        connection.terminate()
        self._held -= 1
        self._free.release()

    def pop(self) -> Connection | None:
        """Take away a connection that is not in use: the caller ends it."""
        return self._idle.pop()[1] if self._idle else None

    def _pop_idle(self) -> Connection | None:
        while self._idle:
            _, connection = self._idle.pop()  # the one used last: the others may be left to grow old
            if not connection.is_closed():
                return connection
        return None

    def _pass_on(self, connection: Connection) -> None:
        """Give a connection to the caller that has waited longest, or keep it."""
        while self._waiting:
            waiting, _ = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(connection)
                return
        self._held -= 1
        now = asyncio.get_running_loop().time()
        self._idle.append((now, connection))
        if self._idle[0][0] < now - UNUSED:
            self._idle.popleft()[1].terminate()

    async def _wait(self) -> Connection | None:
        """Return a connection that was given back, None if another is to be opened; it counts as held."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append((waiting, loop.time()))
        if self._growth is None:
            self._growth = loop.call_later(GROW_AFTER, self._grow)
        try:
            return await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled():
                if connection := waiting.result():
                    self._pass_on(connection)
                else:
                    self._held -= 1
            raise

    def _grow(self) -> None:
        """Let the caller that came first open a connection if it has waited long enough; look again if others wait."""
        self._growth = None
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        if not self._waiting:
            return
        now = loop.time()
        due = self._waiting[0][1] + GROW_AFTER
        if due <= now:
            due = now + GROW_AFTER
            if not self._opening:
                self._held += 1
                self._waiting.popleft()[0].set_result(None)
        self._growth = loop.call_at(due, self._grow)
