"""Read a message's octets: up to the final dot of DATA, or chunk by chunk with BDAT.

``DataReader`` and ``ChunkReader`` know where what they read ends; both put it into a ``Collected``, which keeps no more
than the limit. No IO here but ``Collected.spill``: the connection calls ``take`` each time the buffer has grown, until
the reader has all, or until what it has is to be moved to disk first.

Invariants: only CRLF.CRLF ends a message. No octet of a message is left behind to be read as a command. Nothing is kept
over a limit: of one message, of one line, or of all messages together.

Limitations: the limit counts the dots that a client doubled (RFC 5321 4.5.2), so a message full of them may be rejected
a little early.
"""

from __future__ import annotations

import re

from config.schema import Limits
from mta.mail.large_body import LARGE
from mta.mail.reply import Reply
from mta.observe.log import get_logger
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.replies import ENDLESS_LINE, NO_MEMORY, too_large
from mta.smtp_server.spool import PIECE, Spool, SpooledMessage

log = get_logger()

SPILL = 128 * 1024  # octets moved out of the buffer at a time while the end is not in sight; more than any line has
COPIES = 3  # of a message in memory at once: as received, as judged, as signed
CROWDED = 1 / 8  # share of the memory for messages that is used when more than a piece goes to disk at once
SMALL = 64 * 1024  # octets; messages up to this may use the last of the memory

END = b"\r\n.\r\n"
_END = re.compile(rb"\r\n\.\r\n")  # half the time of ``find``
_DOT = re.compile(rb"\r\n\.")
_BARE_LF = re.compile(rb"(?<!\r)\n(?:\.(?=\.))?")


def has_room(announced: int, budget: MemoryBudget, spool: Spool | None) -> bool:
    """Return whether a message of ``announced`` octets could be taken now."""
    if spool is not None and announced > LARGE:
        return spool.has_room(announced) and budget.has_room(COPIES * PIECE)
    return budget.has_room(COPIES * announced, small=announced <= SMALL)


class Collected:
    """The octets of one message so far, and why they are rejected, once that is clear: then they are dropped.

    With ``spool`` a message over LARGE octets goes to disk, one that was announced as such, or comes when memory is
    scarce, from its first piece on: ``large``. It must be dropped in the end, so that what it reserved is released.
    """

    __slots__ = ("_after_bare_lf", "_budget", "_held", "_is_large", "_limits", "_pieces", "_reserved", "_spool",
                 "large", "octets", "refusal", "stuffed")  # fmt: skip

    def __init__(
        self, limits: Limits, budget: MemoryBudget, spool: Spool | None = None, announced: int | None = None
    ) -> None:
        self._limits, self._budget, self._spool = limits, budget, spool
        self._is_large = announced is not None and announced > LARGE
        self._pieces: list[bytes] = []
        self._held = self._reserved = 0
        self.stuffed = False  # dots are doubled
        self._after_bare_lf = False  # what comes next
        self.octets = 0
        self.large: SpooledMessage | None = None
        self.refusal: Reply | None = None

    def take(self, buffer: bytearray, size: int) -> None:
        """Move the first ``size`` octets of ``buffer`` here."""
        self.octets += size
        if self.octets > self._limits.message_size:
            self.refuse(too_large(self._limits.message_size))
        elif size >= SPILL - 4 and buffer.find(b"\n", 0, size) < 0:
            self.refuse(ENDLESS_LINE)
        elif self.refusal is None and not self._reserve(size):
            self.refuse(NO_MEMORY)
        if self.refusal is None:
            self._held += size
            with memoryview(buffer) as view:
                self._pieces.append(bytes(view[:size]))
        del buffer[:size]

    def _reserve(self, size: int) -> bool:
        if not self._budget.reserve(COPIES * size, small=self.octets <= SMALL):
            return False
        self._reserved += COPIES * size
        return True

    @property
    def is_full(self) -> bool:
        """Whether what is held must be spilled before more is taken."""
        if self._spool is None or self._held < PIECE:
            return False
        return self._is_large or self._held >= LARGE or self._budget.used > CROWDED * self._budget.most

    async def spill(self) -> None:
        """Move what is held to disk, up to the last line end."""
        assert self._spool is not None
        try:
            self.large = self.large or await self._spool.open(self._limits)
            async with self._spool.turn:
                octets, self._pieces = b"".join(self._pieces), []
                end = self._end_of_lines(octets)
                rest = octets[end:]
                await self.large.add(octets[:end], self._clean)
        except OSError as error:
            log.error("large message could not be written to disk", reason=str(error))
            self.refuse(NO_MEMORY)
            return
        fault = self.large.fault if end else ENDLESS_LINE
        if fault:
            self.refuse(fault)
            return
        self._after_bare_lf = not octets.endswith(b"\r\n", 0, end)
        self._is_large = True
        self._budget.release(self._reserved - COPIES * len(rest))
        self._held, self._reserved = len(rest), COPIES * len(rest)
        self._pieces = [rest] if rest else []

    def _end_of_lines(self, octets: bytes) -> int:
        """Return where the last whole line ends, 0 if none does."""
        end = octets.rfind(b"\r\n") + 2
        if end >= 2:
            return end
        return octets.rfind(b"\n") + 1 if self._limits.line_endings == "normalise" else 0

    def _clean(self, lines: bytes) -> bytes:
        """Return whole lines as their author wrote them: without doubled dots, and with CRLF if the settings say so.
        Runs in a thread."""
        if self._after_bare_lf:
            lines = lines[1:] if lines.startswith(b"..") else lines
        elif self.stuffed:
            lines = lines.removeprefix(b".")
        if self.stuffed:
            lines = lines.replace(b"\r\n.", b"\r\n")
        return normalise_line_ends(lines) if self._limits.line_endings == "normalise" else lines

    async def finish(self) -> SpooledMessage | None:
        """Move the end of a large message to disk; return it, None if it is rejected after all."""
        if self._held:
            self._pieces[-1] = end_last_line(self._pieces[-1])
            await self.spill()
        if self.refusal is None and self.large:
            self.large.end()
            if self.large.fault:
                self.refuse(self.large.fault)
        return self.large

    def refuse(self, reply: Reply) -> None:
        self.refusal = reply
        self.drop()

    def whole(self) -> bytes:
        """Return the message, if there is no ``refusal``. Call it once: the pieces are given away."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop(self) -> None:
        """Release the octets."""
        self._pieces.clear()
        self._budget.release(self._reserved)
        self._held = self._reserved = 0
        if self.large:
            self.large.close()
            self.large = None


class DataReader:
    """Reads the message that follows DATA, up to CRLF.CRLF, and takes away doubled dots (RFC 5321 4.5.2)."""

    __slots__ = ("_at_start", "_collected", "_searched", "_stuffed", "has_all")

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        collected.stuffed = True
        self.has_all = False
        self._at_start = True
        self._searched = 0
        self._stuffed = False

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the message out of ``buffer``. Return True when its end was found (``has_all``) or
        ``Collected`` is full; the rest stays."""
        if self._at_start:
            if len(buffer) < 3:
                return False
            self._at_start = False
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                self.has_all = True
                return True
            self._stuffed = buffer.startswith(b".")
        end = self._find_end(buffer)
        if end >= 0:
            self._collected.take(buffer, end + 2)
            del buffer[:3]
            self.has_all = True
            return True
        if len(buffer) > SPILL:
            self._collected.take(buffer, len(buffer) - 4)
        self._searched = max(0, len(buffer) - 4)  # an end may have begun in the last four octets
        return self._collected.is_full

    def _find_end(self, buffer: bytearray) -> int:
        """Return where CRLF.CRLF begins, or -1. Most messages have no line with a dot: the first that is found is the
        end.

        Encoded attachments have no dot at all, and one octet is found thirty times as fast as a string.
        """
        first = buffer.find(b".", self._searched)
        if first < 0:
            return -1
        start = max(self._searched, first - 2)
        if not self._stuffed:
            dot = _start(_DOT, buffer, start)
            if dot < 0 or buffer.startswith(END, dot):
                return dot
            if END.startswith(bytes(buffer[dot : dot + 5])):  # its CRLF has not come yet
                return -1
            self._stuffed = True
        return _start(_END, buffer, start)

    def whole(self) -> bytes:
        """Return the message as its author wrote it, if it was not rejected."""
        content = self._collected.whole()
        return content.removeprefix(b".").replace(b"\r\n.", b"\r\n") if self._stuffed else content


class ChunkReader:
    """Reads the ``size`` octets that follow one BDAT (RFC 3030 2). Without ``collected`` they are dropped."""

    __slots__ = ("_collected", "_missing")

    def __init__(self, size: int, collected: Collected | None) -> None:
        self._missing = size
        self._collected = collected

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the chunk out of ``buffer``. Return True when it is complete (``has_all``) or
        ``Collected`` is full; the rest stays."""
        size = min(len(buffer), self._missing)
        self._missing -= size
        if self._collected is None:
            del buffer[:size]
        elif size:
            self._collected.take(buffer, size)
        return self.has_all or (self._collected is not None and self._collected.is_full)

    @property
    def has_all(self) -> bool:
        return not self._missing


def _start(pattern: re.Pattern[bytes], buffer: bytearray, start: int) -> int:
    """Return where ``pattern`` is found first from ``start`` on, or -1."""
    match = pattern.search(buffer, start)
    return match.start() if match else -1


def end_last_line(content: bytes) -> bytes:
    """Return ``content`` with a CRLF after its last line, which may lack it after BDAT; receivers want it."""
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


def normalise_line_ends(content: bytes) -> bytes:
    """Return ``content`` with CRLF in place of each bare LF, and single dots where the client doubled them behind one.

    Whether the message has ended was decided before: a dot alone on such a line is text, and is doubled when it leaves.
    """
    if content.count(b"\n") == content.count(b"\r\n"):
        return content
    return _BARE_LF.sub(b"\r\n", content)
