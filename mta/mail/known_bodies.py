"""What was made of message bodies, kept for those that come again: many messages of a mailing differ in their header
alone.

A body is found by its length and its ends, and then compared whole, which takes a tenth of what hashing it takes.
What was made of it is kept when it comes for the second time: most bodies are written for one recipient.

Invariants: what is found was made of the same octets. At most ``limit`` octets of bodies are kept, of those that came
last.

Limitations: of bodies with the same length and ends only the last is known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Made = TypeVar("Made")

ENDS = 64  # octets
_Key = tuple[int, bytes, bytes, Hashable]


class KnownBodies(Generic[Made]):
    """``limit``: octets."""

    __slots__ = ("_kept", "_limit", "octets")

    def __init__(self, limit: int) -> None:
        self._kept: OrderedDict[_Key, tuple[bytes, Made | None]] = OrderedDict()
        self._limit = limit
        self.octets = 0

    def find(self, body: bytes, beside: Hashable = None) -> Made | None:
        """Return what was made of ``body`` and ``beside``, what else it was made of; None if that is not known."""
        key = _key(body, beside)
        kept = self._kept.get(key)
        if kept is None or kept[0] != body:
            return None
        self._kept.move_to_end(key)
        return kept[1]

    def keep(self, made: Made, body: bytes, beside: Hashable = None) -> None:
        """Keep what was made of ``body`` if that came before."""
        if len(body) > self._limit:
            return
        key = _key(body, beside)
        before = self._kept.pop(key, None)
        came_before = before is not None and before[0] == body
        self._kept[key] = body, made if came_before else None
        if before is None:
            self.octets += len(body)
        while self.octets > self._limit:
            oldest, _ = self._kept.popitem(last=False)
            self.octets -= oldest[0]


def _key(body: bytes, beside: Hashable) -> _Key:
    return len(body), body[:ENDS], body[-ENDS:], beside
