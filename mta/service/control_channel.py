"""Exchange control messages and status reports between the supervisor and a child: frames on a socket pair.

Control messages are pickled (parent to child only, on a socket that no other process holds), status reports and
requests are JSON. The end of the stream tells the child to stop. A frame is a length (4 octets, big-endian) and that
many octets.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from config.schema import Listener, Settings
from mta.admin.service.reload import ReloadReply

Sockets = tuple[tuple[Listener, int], ...]  # settings, and the number among the sockets that the child was forked with

_LENGTH = struct.Struct("!I")
_RELOAD = "reload"  # the field that makes a report a request
MAX_FRAME = 64 * 1024 * 1024


@dataclass(frozen=True)
class Start:
    """What a child needs to begin. ``listeners`` are those of [submission], ``report_listeners`` those of [reports]."""

    index: int
    settings: Settings
    dsn: str
    secret: bytes
    run_dir: Path
    listeners: Sockets = ()
    report_listeners: Sockets = ()
    web_ports: tuple[str, ...] = ()  # the sections whose sockets a web process was forked with, in their order
    config_file: Path | None = None  # None: what is shipped

    def reloaded(self, settings: Settings) -> Start:
        """Return what a successor needs after a reload: the same sockets, and the new settings for them."""
        return replace(
            self,
            settings=settings,
            listeners=_renewed(self.listeners, settings.submission.listeners),
            report_listeners=_renewed(self.report_listeners, settings.reports.listeners),
        )


def web_name(index: int) -> str:
    """Return the name of a web process: the first one is `web`, the only one that there always is."""
    return f"web-{index}" if index else "web"


def _renewed(sockets: Sockets, listeners: Sequence[Listener]) -> Sockets:
    named = {(listener.address, listener.port): listener for listener in listeners}
    return tuple((named.get((listener.address, listener.port), listener), place) for listener, place in sockets)


@dataclass(frozen=True)
class Reload:
    """Apply these settings, which are valid. What needs a restart keeps its old value."""

    settings: Settings


@dataclass(frozen=True)
class Reopen:
    """Reopen the event log, whose file was moved away."""


@dataclass(frozen=True)
class ReloadAnswer:
    """What came of the reload that the child has asked for with this ``number``."""

    number: int
    reply: ReloadReply


ControlMessage = Start | Reload | Reopen | ReloadAnswer


@dataclass(frozen=True)
class ReloadRequest:
    """A child asks the supervisor to read the configuration again, or, with ``dry_run``, what that would change."""

    number: int
    dry_run: bool


def send(writer: asyncio.StreamWriter, message: ControlMessage) -> None:
    """Queue a message for the child."""
    body = pickle.dumps(message)
    writer.write(_LENGTH.pack(len(body)) + body)


async def begin(control: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Start] | None:
    """Return the streams from and to the supervisor, and what a child needs; None if it is not to start any more."""
    reader, writer = await asyncio.open_connection(sock=control)
    start = await receive(reader)
    return (reader, writer, start) if isinstance(start, Start) else None


async def receive(reader: asyncio.StreamReader) -> ControlMessage | None:
    """Return the next message, None when the supervisor has ended or tells us to stop."""
    body = await _frame(reader)
    if body is None:
        return None
    message: ControlMessage = pickle.loads(body)  # noqa: S301  from our parent, over a socket that only it holds
    return message


def report(writer: asyncio.StreamWriter, status: dict[str, Any]) -> None:
    """Report our status to the supervisor."""
    body = orjson.dumps(status)
    writer.write(_LENGTH.pack(len(body)) + body)


def ask(writer: asyncio.StreamWriter, request: ReloadRequest) -> None:
    """Ask the supervisor for a reload."""
    report(writer, {_RELOAD: request.number, "dry_run": request.dry_run})


async def status(reader: asyncio.StreamReader) -> dict[str, Any] | ReloadRequest | None:
    """Return the next status report or request of a child, None when it has ended."""
    body = await _frame(reader)
    if body is None:
        return None
    said: dict[str, Any] = orjson.loads(body)
    return ReloadRequest(said[_RELOAD], said["dry_run"]) if _RELOAD in said else said


async def _frame(reader: asyncio.StreamReader) -> bytes | None:
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length) if length <= MAX_FRAME else None
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
