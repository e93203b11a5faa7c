"""A proxy before PostgreSQL that knows its messages, and strikes at the n-th one.

It counts the messages of one direction from ``arm`` on, over all connections, and does what the fault says to the one
that carries the number. Messages are whole (protocol 3.0: a type and a length; the first from a client has no type), so
that a fault is always between two messages, or in the middle of one if it is torn.

*Limits.* No TLS, no replication, no cancel requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qs, urlsplit

_LENGTH = struct.Struct("!I")


class Direction(Enum):
    """Whose messages are counted."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class FaultKind(Enum):
    """What is done to the message that carries the number."""

    CUT = "cut"  # it is lost, and both ends are reset
    CUT_BEHIND = "cut behind"  # it arrives, then both ends are reset
    TORN = "torn"  # half of it arrives, then both ends are reset
    HALF_CLOSE = "half close"  # it is lost; the receiver sees an orderly end, the sender still nothing
    STALL = "stall"  # it is lost, and nothing passes any more; both ends stay open
    DELAY = "delay"  # it arrives late; everything goes on

    @property
    def is_harmless(self) -> bool:
        return self is FaultKind.DELAY


DELAYED = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """``lasting``: every later message gets the same, whatever its connection."""

    kind: FaultKind
    direction: Direction
    number: int
    lasting: bool = False


class DatabaseProxy:
    """``dsn``: of the server, by socket folder and port. ``self.dsn`` leads through the proxy."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._socket = f"{query.pop('host')}/.s.PGSQL.{query.pop('port', '5432')}"
        self._database, self._user = parts.path, parts.username or query.pop("user", "postgres")
        self._fault: PlannedFault | None = None
        self._counted = 0
        self._struck = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.dsn = f"postgresql://{self._user}@127.0.0.1:{port}{self._database}?sslmode=disable"

    async def stop(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def arm(self, fault: PlannedFault) -> None:
        """Strike at the ``fault.number``-th message from now."""
        self._fault, self._counted = fault, 0
        self._struck.clear()

    def disarm(self) -> bool:
        """Let everything pass again; return whether the fault struck."""
        self._fault = None
        return self._struck.is_set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):  # a server of streams shows what ends its callbacks
            their_reader, their_writer = await asyncio.open_unix_connection(self._socket)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, their_writer, Direction.TO_SERVER))
                    group.create_task(self._pump(their_reader, writer, Direction.TO_CLIENT))
            except* (OSError, _Cut):
                pass
            finally:
                for each in (writer, their_writer):
                    each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: Direction) -> None:
        typed = direction is Direction.TO_CLIENT
        while message := await _message(source, typed):
            typed = True
            fault = self._strikes(direction)
            if fault is None or fault is FaultKind.DELAY:
                if fault:
                    await asyncio.sleep(DELAYED)
                target.write(message)
                await target.drain()
            else:
                await self._strike(fault, message, target)
        if target.can_write_eof():
            target.write_eof()

    def _strikes(self, direction: Direction) -> FaultKind | None:
        if self._fault is None or self._fault.direction is not direction:
            return None
        self._counted += 1
        if self._counted == self._fault.number or (self._fault.lasting and self._counted > self._fault.number):
            self._struck.set()
            return self._fault.kind
        return None

    async def _strike(self, kind: FaultKind, message: bytes, target: asyncio.StreamWriter) -> None:
        """Do to a message what ends its connection, or its use. Raises _Cut."""
        match kind:
            case FaultKind.CUT:
                pass
            case FaultKind.CUT_BEHIND | FaultKind.TORN:
                target.write(message if kind is FaultKind.CUT_BEHIND else message[: len(message) // 2])
                await target.drain()
                await asyncio.sleep(0)  # on its way, before the reset
            case FaultKind.HALF_CLOSE:
                target.write_eof()
                await asyncio.Event().wait()
            case FaultKind.STALL:
                await asyncio.Event().wait()
        raise _Cut


class _Cut(Exception):
    """The connection is to be reset."""


async def _message(source: asyncio.StreamReader, typed: bool) -> bytes:
    """Return the next message, b"" at the end."""
    try:
        kind = await source.readexactly(1) if typed else b""
        length = await source.readexactly(4)
        return kind + length + await source.readexactly(_LENGTH.unpack(length)[0] - 4)
    except asyncio.IncompleteReadError:
        return b""
