"""A message's octets, taken from the wire: up to the lone dot of DATA, or chunk by chunk with BDAT.

``Dots`` and ``Chunk`` know where what they read ends; both put it into a ``Collected``, which keeps no more than the
limit. No IO here: whoever reads calls ``take`` each time the buffer has grown.

It must never end a message at anything but CRLF.CRLF, never leave octets of a message behind to be read as commands,
and never keep what is over the limit.

*Limits.* The limit counts the dots that a client doubled (RFC 5321 4.5.2), so a message full of them may be refused
a little early.
"""

from __future__ import annotations

SPILL = 64 * 1024  # octets moved out of the buffer at a time while the end is not in sight

END = b"\r\n.\r\n"


class Collected:
    """The octets of one message so far. ``octets`` goes on counting when they are over the limit and dropped."""

    __slots__ = ("_limit", "_pieces", "octets")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self.octets = 0

    @property
    def is_over(self) -> bool:
        return self.octets > self._limit

    def take(self, buffer: bytearray, size: int) -> None:
        """Move the first ``size`` octets here."""
        self.octets += size
        if self.is_over:
            self._pieces.clear()
        else:
            with memoryview(buffer) as view:
                self._pieces.append(bytes(view[:size]))
        del buffer[:size]

    def whole(self) -> bytes | None:
        """The message, None if it was too large. Gives its memory away: call it once."""
        pieces, self._pieces = self._pieces, []
        if self.is_over:
            return None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def complete(self) -> bytes | None:
        """As ``whole``, its last line ended: after BDAT it may come without CRLF, and receivers want it."""
        content = self.whole()
        return content + b"\r\n" if content and not content.endswith(b"\r\n") else content


class Dots:
    """Reads the message that follows DATA, up to CRLF.CRLF, and takes away doubled dots (RFC 5321 4.5.2)."""

    __slots__ = ("_at_start", "_collected", "_searched", "_stuffed")

    def __init__(self, collected: Collected) -> None:
        self._collected = collected
        self._at_start = True
        self._searched = 0
        self._stuffed = False

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the message out of ``buffer``. True when its end was found; the rest stays."""
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
        """Where CRLF.CRLF begins, or -1. Most messages have no line with a dot: its first find is the end."""
        if self._stuffed:
            return buffer.find(END, self._searched)
        dot = buffer.find(b"\r\n.", self._searched)
        if dot < 0 or buffer.startswith(END, dot):
            return dot
        if END.startswith(bytes(buffer[dot : dot + 5])):  # its CRLF has not come yet
            return -1
        self._stuffed = True
        return buffer.find(END, dot)

    def whole(self) -> bytes | None:
        """The message as its author wrote it, None if it was too large."""
        content = self._collected.whole()
        if not content or not self._stuffed:
            return content
        return content.removeprefix(b".").replace(b"\r\n.", b"\r\n")


class Chunk:
    """Reads the ``size`` octets that follow one BDAT (RFC 3030 2). Without ``collected`` they are dropped."""

    __slots__ = ("_collected", "_missing")

    def __init__(self, size: int, collected: Collected | None) -> None:
        self._missing = size
        self._collected = collected

    def take(self, buffer: bytearray) -> bool:
        """Move what belongs to the chunk out of ``buffer``. True when it is complete; the rest stays."""
        size = min(len(buffer), self._missing)
        self._missing -= size
        if self._collected is None:
            del buffer[:size]
        elif size:
            self._collected.take(buffer, size)
        return not self._missing
