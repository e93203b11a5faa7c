"""What a client has sent and the session has not yet read, and how the session waits for more.

The transport feeds, the session takes: whole command lines with ``line``, the octets of a message straight from
``buffer``. There is one reader, and it waits only in ``more``.

It must never grow without bound: above HIGH_WATER reading from the socket pauses, and a command line longer than any
command may be is dropped while it arrives. It must never take a bare LF for the end of a line.

*Limits.* One read of the socket comes on top of HIGH_WATER.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mta.mail.reply import Reply
from mta.smtp_server.commands import MAX_LINES
from mta.smtp_server.replies import CloseSession, ConnectionLost, Rejected

HIGH_WATER = 128 * 1024  # octets that may wait while the session is busy
LONGEST_LINE = max(MAX_LINES.values())

BARE_LF = Reply(500, "5.5.2", "a line must end with CRLF")
BARE_CR = Reply(500, "5.5.2", "a command must not contain CR or NUL")
TOO_LONG = Reply(500, "5.5.2", "command line too long")


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
        elif len(self.buffer) > HIGH_WATER and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def feed_eof(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._wake()

    def interrupt(self, error: Exception) -> bool:
        """Raise ``error`` where the session waits for input. False if it is busy with something else."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return False
        waiter.set_exception(error)
        return True

    async def more(self, take: Take | None = None) -> None:
        """Wait until something has come; with ``take``, which is called as octets come, until that has enough.

        Raises Hangup at the end of input, and what ``interrupt`` was given or ``take`` raised.
        """
        if self._ended:
            raise ConnectionLost
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._waiter, self._take = self._new_future(), take
        try:
            await self._waiter
            if self._take is not None:  # it was the end of input that woke us
                raise ConnectionLost
        finally:
            self._waiter = self._take = None

    def _give(self, octets: int) -> None:
        """A message's octets go where they belong without waking the session for each packet."""
        assert self._take is not None
        try:
            enough = self._take(octets)
        except CloseSession as farewell:
            self.interrupt(farewell)
        else:
            if enough:
                self._take = None
                self._wake()

    def line(self) -> bytes | None:
        """The next command line without its CRLF; None if it has not come yet. Raises Refusal, the line being gone."""
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
            raise Rejected(TOO_LONG)
        if not line.endswith(b"\r"):
            raise Rejected(BARE_LF)
        line = line[:-1]
        if b"\r" in line or b"\0" in line:
            raise Rejected(BARE_CR)
        return line

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
