"""The two directions of a connection: what the client has sent and is not yet read, and the replies to it.

The transport feeds the ``LineReader``; the session takes whole command lines with ``line``, or the octets of a message
straight from ``buffer``. There is one reader, and it waits only in ``more``. Replies wait in the ``ReplyWriter`` until
the client has nothing more to be read, and then leave in one write: the replies to a group of pipelined commands are
one packet (RFC 2920 3.2).

Invariants: the input does not grow without bound: above HIGH_WATER reading from the socket pauses, and a command line
longer than any command may be is dropped while it arrives. A bare LF does not end a line. No AUTH exchange and no
message is traced.

Limitations: what the loop reads of the socket at once comes on top of HIGH_WATER.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable

from mta.mail.reply import Reply
from mta.observe.trace import MASK, Trace
from mta.smtp_server.commands import MAX_LINES, VERBS, shown
from mta.smtp_server.handler import Client
from mta.smtp_server.replies import BARE_CR, BARE_LF, LINE_TOO_LONG, CloseSession, ConnectionLost, Rejected, encode

HIGH_WATER = 128 * 1024  # octets that may wait while the session is busy
LONGEST_LINE = max(MAX_LINES.values())

Take = Callable[[int], bool]  # given the octets that came; True when it has enough


class LineReader:
    """``buffer`` belongs to the session while it runs; nothing but ``feed`` adds to it."""

    __slots__ = ("_ended", "_new_future", "_paused", "_skipping", "_take", "_transport", "_waiter", "buffer")

    def __init__(self, transport: asyncio.Transport, new_future: Callable[[], asyncio.Future[None]]) -> None:
        self.buffer = bytearray()
        self._transport = transport
        self._new_future = new_future
        self._waiter: asyncio.Future[None] | None = None
        self._take: Take | None = None
        self._paused = False
        self._ended = False
        self._skipping = False

    def attach(self, transport: asyncio.Transport) -> None:
        """Go on with another transport: that of TLS over the old one."""
        self._transport = transport
        self._paused = False

    def feed(self, data: bytes) -> None:
        self.buffer += data
        if self._take is not None:
            self._give(len(data))
        elif self._waiter is not None:
            self._wake()
        if self._take is None and len(self.buffer) > HIGH_WATER and not self._paused:
            self._paused = True  # the loop may read many times before the session runs
            self._transport.pause_reading()

    def feed_eof(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._wake()

    def interrupt(self, error: Exception) -> bool:
        """Raise ``error`` where the session waits for input. Return False if it is busy with something else."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return False
        waiter.set_exception(error)
        return True

    @property
    def is_waking(self) -> bool:
        """Whether the session waited for input, and will go on in the next turn of the loop."""
        return self._waiter is not None and self._waiter.done()

    async def more(self, take: Take | None = None) -> None:
        """Wait until something has come; with ``take``, which is called as octets come, until that has enough.

        Raises ConnectionLost at the end of input, and what ``interrupt`` was given or ``take`` raised.
        """
        if self._ended:
            raise ConnectionLost
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._waiter, self._take = self._new_future(), take
        try:
            await self._waiter
            if self._take is not None:  # woken by the end of input
                raise ConnectionLost
        finally:
            self._waiter = self._take = None

    def _give(self, octets: int) -> None:
        """Pass on a message's octets as they come, without waking the session for each packet."""
        assert self._take is not None
        try:
            enough = self._take(octets)
        except CloseSession as close:
            self.interrupt(close)
        else:
            if enough:
                self._take = None
                self._wake()

    def line(self) -> bytes | None:
        """Return the next command line without its CRLF, None if it has not come yet.

        Raises Rejected for a line that cannot be a command; it is dropped.
        """
        buffer = self.buffer
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > LONGEST_LINE:
                self._skipping = True
            if self._skipping:
                buffer.clear()
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if self._skipping or end > LONGEST_LINE:
            self._skipping = False
            raise Rejected(LINE_TOO_LONG)
        if not line.endswith(b"\r"):
            raise Rejected(BARE_LF)
        line = line[:-1]
        if b"\r" in line or b"\0" in line:
            raise Rejected(BARE_CR)
        return line

    def ahead(self, verb: bytes, most: int) -> list[bytes]:
        """Return the lines that have come and begin with ``verb``, at most ``most``, up to the first other one. They
        stay to be read."""
        lines: list[bytes] = []
        start = 0
        while len(lines) < most and (end := self.buffer.find(b"\r\n", start)) >= 0:
            line = bytes(self.buffer[start:end])
            if len(line) > LONGEST_LINE or line[: len(verb)].upper() != verb:
                break
            lines.append(line)
            start = end + 2
        return lines

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ReplyWriter:
    """``client_is_slow``: it does not take what is sent."""

    __slots__ = ("_client", "_pending", "_trace", "_writer", "client_is_gone", "client_is_slow")

    def __init__(self, writer: asyncio.StreamWriter, client: Client, trace: Trace) -> None:
        self._writer = writer
        self._client = client
        self._trace = trace
        self._pending: list[bytes] = []
        self.client_is_slow = False
        self.client_is_gone = False

    def send(self, reply: Reply) -> None:
        """Queue ``reply`` for the next flush."""
        self._pending.append(encode(reply))
        if self._trace.active:
            self.trace(str(reply), sent=True)

    def send_line(self, line: str) -> None:
        """Queue a reply without an enhanced code; several lines if it has CRLF inside."""
        self._pending.append(f"{line}\r\n".encode())
        if self._trace.active:
            self.trace(line.replace("\r", ""), sent=True)

    def send_challenge(self, text: bytes) -> None:
        """Queue a challenge of AUTH (RFC 4954 4)."""
        self._pending.append(b"334 %b\r\n" % b64encode(text))
        if self._trace.active:
            self.trace(f"334 {MASK}", sent=True)

    async def flush(self) -> None:
        """Write what is queued. Raises ConnectionLost."""
        if self._pending:
            if self.client_is_gone:
                raise ConnectionLost
            self._writer.write(b"".join(self._pending))
            self._pending.clear()
            if self.client_is_slow:
                try:
                    await self._writer.drain()
                except ConnectionError:
                    raise ConnectionLost from None

    @property
    def has_replies(self) -> bool:
        """Whether any are queued."""
        return bool(self._pending)

    def close(self) -> None:
        """Write what is queued and end the connection, without waiting."""
        if self._pending and not self.client_is_gone:
            self._writer.write(b"".join(self._pending))
        self._writer.close()

    def trace(self, text: str, *, sent: bool) -> None:
        """Show ``text`` to those who trace; callers look at ``Trace.active`` first."""
        self._trace.line("in", self._client.session, str(self._client.address), sent, text)

    def trace_command(self, verb: str, argument: str) -> None:
        """Show a command, unless a secret may be in it."""
        public = verb in VERBS and verb != "AUTH"
        self.trace(f"{verb} {argument}".rstrip() if public else f"{shown(verb)} {MASK}", sent=False)
