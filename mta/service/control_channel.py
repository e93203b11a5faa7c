"""What the supervisor tells its children, and what they answer: frames on a socket pair.

Orders go down pickled (parent to child only, over a socket no one else has); status comes up as JSON. The end of the
stream is an order too: stop.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from config.schema import Listener, Settings

Sockets = tuple[tuple[Listener, int], ...]  # settings, and which of the sockets that the child was forked with

_LENGTH = struct.Struct("!I")
MAX_FRAME = 64 * 1024 * 1024


@dataclass(frozen=True)
class Start:
    """What a child needs to begin. ``listeners``: those of `submission`; ``returns``: those of `returns`."""

    index: int
    workers: int
    settings: Settings
    dsn: str
    secret: bytes
    run_dir: Path
    listeners: Sockets = ()
    returns: Sockets = ()

    def reloaded(self, settings: Settings) -> Start:
        """What a successor needs after a reload: sockets stay, how they are to be used may have changed."""
        return replace(
            self,
            settings=settings,
            listeners=_renewed(self.listeners, settings.submission.listeners),
            returns=_renewed(self.returns, settings.reports.listeners),
        )


def _renewed(sockets: Sockets, listeners: Sequence[Listener]) -> Sockets:
    named = {(listener.address, listener.port): listener for listener in listeners}
    return tuple((named.get((listener.address, listener.port), listener), place) for listener, place in sockets)


@dataclass(frozen=True)
class Reload:
    """Settings that were checked; what needs a restart has not changed in effect."""

    settings: Settings


@dataclass(frozen=True)
class Reopen:
    """The event log's file was moved away: open it anew."""


ControlMessage = Start | Reload | Reopen


def send(writer: asyncio.StreamWriter, order: ControlMessage) -> None:
    """Queue ``order`` for the child."""
    body = pickle.dumps(order)
    writer.write(_LENGTH.pack(len(body)) + body)


async def receive(reader: asyncio.StreamReader) -> ControlMessage | None:
    """The next order, None when the supervisor is gone or wants us to stop."""
    body = await _frame(reader)
    if body is None:
        return None
    order: ControlMessage = pickle.loads(body)  # noqa: S301  from our parent, over a socket that only it holds
    return order


def report(writer: asyncio.StreamWriter, status: dict[str, Any]) -> None:
    """Tell the supervisor how things are."""
    body = orjson.dumps(status)
    writer.write(_LENGTH.pack(len(body)) + body)


async def status(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """A child's next report, None when it has ended."""
    body = await _frame(reader)
    return None if body is None else orjson.loads(body)


async def _frame(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length) if length <= MAX_FRAME else None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
