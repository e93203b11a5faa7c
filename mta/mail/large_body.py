"""The body of a message that is too large for memory: it passes in pieces.

Limitations: what a piece is depends on where the body stands; ``whole_lines`` cuts them anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

LARGE = 1024 * 1024  # octets of the largest message that is held whole in memory


class LargeBody(Protocol):
    """Its octets never change. Once the message is committed, or was refused, it may be gone."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the octets in order, some 100 kB at a time."""
        ...

    async def whole(self) -> bytes:
        """Return the message as it was received, header block included. One at a time, and not for long."""
        ...


async def whole_lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut pieces anew, so that each ends with CRLF; the last one ends as the message does."""
    rest = b""
    async for piece in pieces:
        piece = rest + piece
        end = piece.rfind(b"\r\n") + 2 if b"\r\n" in piece else 0
        rest = piece[end:]
        if end:
            yield piece[:end]
    if rest:
        yield rest
