"""Read a message's octets: up to the final dot of DATA, or chunk by chunk with BDAT.

``DataReader`` and ``ChunkReader`` know where what they read ends; both put it into a ``Collected``, which keeps no more
than the limit. No IO here: the connection calls ``take`` each time the buffer has grown.

Invariants: only CRLF.CRLF ends a message. No octet of a message is left behind to be read as a command. Nothing is kept
over a limit: of one message, of one line, or of all messages together.

Limitations: the limit counts the dots that a client doubled (RFC 5321 4.5.2), so a message full of them may be rejected
a little early.
"""

from __future__ import annotations

import re

from mta.mail.reply import Reply
from mta.smtp_server.limits import MemoryBudget
from mta.smtp_server.replies import ENDLESS_LINE, NO_MEMORY, TOO_LARGE

SPILL = 128 * 1024  # octets moved out of the buffer at a time while the end is not in sight; more than any line has

END = b"\r\n.\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n(?:\.(?=\.))?")


class Collected:
    """The octets of one message so far, and why they are rejected, once that is clear: then they are dropped.

    It must be dropped in the end, so that what it reserved of ``budget`` is released.
    """

    __slots__ = ("_budget", "_held", "_limit", "_pieces", "octets", "refusal")

    def __init__(self, limit: int, budget: MemoryBudget) -> None:
        self._limit = limit
        self._budget = budget
        self._pieces: list[bytes] = []
        self._held = 0
        self.octets = 0
        self.refusal: Reply | None = None

    def take(self, buffer: bytearray, size: int) -> None:
        """Move the first ``size`` octets of ``buffer`` here."""
        self.octets += size
        if self.octets > self._limit:
            self._refuse(TOO_LARGE)
        elif size >= SPILL - 4 and buffer.find(b"\n", 0, size) < 0:
            self._refuse(ENDLESS_LINE)
        elif self.refusal is None and not self._budget.reserve(size):
            self._refuse(NO_MEMORY)
        if self.refusal is None:
            self._held += size
            with memoryview(buffer) as view:
                self._pieces.append(bytes(view[:size]))
        del buffer[:size]

    def _refuse(self, reply: Reply) -> None:
        self.refusal = reply
        self.drop()

    def whole(self) -> bytes:
        """Return the message, if there is no ``refusal``. Call it once: the pieces are given away."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop(self) -> None:
        """Release the octets."""
        self._pieces.clear()
        self._budget.release(self._held)
        self._held = 0


class DataReader:
    """Reads the message that follows DATA, up to CRLF.CRLF, and takes away doubled dots (RFC 5321 4.5.2)."""

    __slots__ = ("_at_start", "_collected", "_searched", "_stuffed")

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._at_start = True
        self._searched = 0
        self._stuffed = False

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the message out of ``buffer``. Return True when its end was found; the rest stays."""
        if self._at_start:
            if len(buffer) < 3:
                return False
            self._at_start = False
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                return True
            self._stuffed = buffer.startswith(b".")
        end = self._find_end(buffer)
        if end >= 0:
            self._collected.take(buffer, end + 2)
            del buffer[:3]
            return True
        if len(buffer) > SPILL:
            self._collected.take(buffer, len(buffer) - 4)
        self._searched = max(0, len(buffer) - 4)  # an end may have begun in the last four octets
        return False

    def _find_end(self, buffer: bytearray) -> int:
        """Return where CRLF.CRLF begins, or -1. Most messages have no line with a dot: its first find is the end."""
        if self._stuffed:
            return buffer.find(END, self._searched)
        dot = buffer.find(b"\r\n.", self._searched)
        if dot < 0 or buffer.startswith(END, dot):
            return dot
        if END.startswith(bytes(buffer[dot : dot + 5])):  # its CRLF has not come yet
            return -1
        self._stuffed = True
        return buffer.find(END, dot)

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
        """Move what belongs to the chunk out of ``buffer``. Return True when it is complete; the rest stays."""
        size = min(len(buffer), self._missing)
        self._missing -= size
        if self._collected is None:
            del buffer[:size]
        elif size:
            self._collected.take(buffer, size)
        return not self._missing


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
