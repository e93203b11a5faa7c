"""The live SMTP dialogue for ``mta trace``: workers send it as JSON lines over a socket each, ``watch`` reads them all.

A reader sends one line with its ``TraceFilter`` and then only reads. While no reader is connected ``Trace.active`` is
False and callers do nothing. Lines are dropped and counted when a reader is too slow; mail is not delayed.

Invariants: No credential and no message text is shown. Callers leave both out; as a second defence, a client's line
that is one word and no known verb (the shape of an AUTH exchange) and everything after ``AUTH <mechanism>`` are masked
here. Control characters are escaped, so lines are safe to print on a terminal.
Limitations: A filter by text shows a session from its first match on. Lines of different workers are ordered by
arrival, which may differ slightly from their times. ``watch`` finds new workers within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import msgspec

from mta.observe.metrics import Metrics

MAX_READERS = 16
MAX_PENDING = 256 * 1024  # bytes waiting for one reader
MAX_TEXT = 2000  # characters of one line
_REMEMBERED = 1000  # sessions that contained a reader's text
_MAX_LINE = 64 * 1024
FIND_EVERY = 1.0  # seconds between searches for workers

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AUTH = re.compile(r"(?i)(\s*AUTH\s+\S+)\s+\S.*")
_VERBS = frozenset({"DATA", "QUIT", "RSET", "NOOP", "STARTTLS", "EHLO", "HELO", "HELP", "VRFY", "EXPN", "AUTH"})
MASK = "********"


class TraceFilter(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a reader wants to see: all conditions must match. ``peer`` and ``contains`` are substrings, case ignored."""

    side: str | None = None  # "in": clients, "out": receivers
    peer: str | None = None
    session: str | None = None
    contains: str | None = None


class TraceLine(msgspec.Struct, omit_defaults=True):
    """One line of a dialogue. ``sent``: by us. ``dropped``: lines that this reader missed just before this one."""

    at: float  # seconds since 1970
    side: str
    session: str
    peer: str
    sent: bool
    text: str
    dropped: int = 0


class TraceSink(Protocol):
    """Where sessions show their lines. Callers: ``if trace.active: trace.line(...)``."""

    active: bool

    def line(self, side: str, session: str, peer: str, sent: bool, text: str) -> None:
        """Show a line. ``side``: "in" or "out"; ``peer``: e.g. ``mx.example.com [192.0.2.1]``; ``text``: without its
        last CRLF."""


class Trace:
    """The sending side in one worker, a TraceSink."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self.active = False
        self._path = path
        self._metrics = metrics
        self.readers: list[_TraceReader] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on the socket (mode 0600). Raises OSError."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        with short_address(self._path) as address:
            listening.bind(address)
        os.chmod(self._path, 0o600)  # before listen(), so that no other user can connect
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_MAX_LINE)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for reader in list(self.readers):
            reader.writer.close()

    def line(self, side: str, session: str, peer: str, sent: bool, text: str) -> None:
        """Send a line to all readers."""
        from_client = sent == (side == "out")
        for part in text.split("\n"):
            line = TraceLine(time.time(), side, session, peer, sent, mask(part.rstrip("\r"), from_client=from_client))
            for reader in self.readers:
                if reader.wants(line):
                    reader.write(line, self._metrics)

    async def _serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader: _TraceReader | None = None
        try:
            wanted = msgspec.json.decode(await stream.readline(), type=TraceFilter)
            if len(self.readers) < MAX_READERS:
                reader = _TraceReader(wanted, writer)
                self.readers.append(reader)
                self.active = True
                while await stream.read(4096):  # until the reader disconnects
                    pass
        except (OSError, ValueError, msgspec.DecodeError):
            pass  # disconnected, or not a reader
        finally:
            if reader:
                self.readers.remove(reader)
                self.active = bool(self.readers)
            writer.close()


class _TraceReader:
    """A connected reader and its filter."""

    __slots__ = ("_contains", "_dropped", "_found", "_peer", "_session", "_side", "writer")

    def __init__(self, wanted: TraceFilter, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._side, self._session = wanted.side, wanted.session
        self._peer = wanted.peer.casefold() if wanted.peer else None
        self._contains = wanted.contains.casefold() if wanted.contains else None
        self._found: OrderedDict[str, None] = OrderedDict()
        self._dropped = 0

    def wants(self, line: TraceLine) -> bool:
        if self._side and line.side != self._side:
            return False
        if self._session and line.session != self._session:
            return False
        if self._peer and self._peer not in line.peer.casefold():
            return False
        if not self._contains or line.session in self._found:
            return True
        if self._contains not in line.text.casefold():
            return False
        self._found[line.session] = None
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return True

    def write(self, line: TraceLine, metrics: Metrics) -> None:
        transport = self.writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_PENDING:
            self._dropped += 1
            metrics.trace_dropped.inc()
            return
        if self._dropped:
            line = msgspec.structs.replace(line, dropped=self._dropped)
            self._dropped = 0
        transport.write(msgspec.json.encode(line) + b"\n")


def mask(text: str, *, from_client: bool) -> str:
    """Return ``text`` without AUTH exchange and control characters, cut to MAX_TEXT characters."""
    if from_client:
        word = text.strip()
        if match := _AUTH.match(text):
            text = f"{match[1]} {MASK}"
        elif " " not in word and word.upper() not in _VERBS and word != ".":
            text = MASK
    elif text.startswith("334"):
        text = f"334 {MASK}"
    return _CONTROL.sub(_escape, text[:MAX_TEXT])


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class short_address:
    """A short address for the Unix socket ``path``, however deep its directory (the limit is 107 bytes)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        self._fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


async def watch(run_dir: Path, wanted: TraceFilter) -> AsyncIterator[TraceLine]:
    """Yield the lines of all workers of this machine, without end. Raises PermissionError."""
    lines: asyncio.Queue[TraceLine] = asyncio.Queue(maxsize=1000)
    readers: dict[Path, asyncio.Task[None]] = {}
    finder = asyncio.create_task(_find(run_dir, wanted, lines, readers))
    try:
        while True:
            line = asyncio.ensure_future(lines.get())
            await asyncio.wait([line, finder], return_when=asyncio.FIRST_COMPLETED)
            if finder.done():
                line.cancel()
                finder.result()
            yield line.result()
    finally:
        for task in (finder, *readers.values()):
            task.cancel()
        await asyncio.gather(finder, *readers.values(), return_exceptions=True)


async def _find(
    run_dir: Path, wanted: TraceFilter, lines: asyncio.Queue[TraceLine], readers: dict[Path, asyncio.Task[None]]
) -> None:
    while True:
        for path, task in list(readers.items()):
            if task.done():
                del readers[path]
                task.result()  # raises PermissionError
        for path in _sockets(run_dir):
            if path not in readers:
                readers[path] = asyncio.create_task(_read(path, wanted, lines))
        await asyncio.sleep(FIND_EVERY)


async def _read(path: Path, wanted: TraceFilter, lines: asyncio.Queue[TraceLine]) -> None:
    with contextlib.suppress(FileNotFoundError, ConnectionError):  # the worker has exited or is still starting
        with short_address(path) as address:
            stream, writer = await asyncio.open_unix_connection(address, limit=_MAX_LINE)
        try:
            writer.write(msgspec.json.encode(wanted) + b"\n")
            while octets := await stream.readline():
                await lines.put(msgspec.json.decode(octets, type=TraceLine))
        finally:
            writer.close()


def _sockets(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("trace-*.sock"))
