"""Answers kept for as long as they say, each looked up once however many wait for it.

Limitations: when a cache is full its oldest entry goes, used or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CachedAnswer(Generic[V]):
    """An answer and the seconds for which it is kept."""

    value: V
    ttl: float


class Cache(Generic[V]):
    """``size``: entries kept. What ``find`` returns is kept, an answer or a failure; what it raises is not."""

    def __init__(self, size: int, find: Callable[[str], Awaitable[CachedAnswer[V]]]) -> None:
        self._size = size
        self._find = find
        self._known: dict[str, tuple[float, V]] = {}
        self._searches: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> V | None:
        """Return the answer if it is known now."""
        known = self._known.get(key)
        return known[1] if known is not None and time.monotonic() < known[0] else None

    def left(self, key: str) -> float:
        """Return for how many seconds the answer is still known; 0 if it is not."""
        known = self._known.get(key)
        return max(0.0, known[0] - time.monotonic()) if known is not None else 0.0

    def forget(self, which: Callable[[V], bool]) -> None:
        """Drop answers that are to be found anew."""
        self._known = {key: (until, value) for key, (until, value) in self._known.items() if not which(value)}

    async def get(self, key: str) -> V:
        """Return the answer, known or found; many callers at once cause one search."""
        if (known := self.peek(key)) is not None:
            return known
        search = self._searches.get(key)
        if search is None:
            search = self._searches[key] = asyncio.create_task(self._search(key))
        return await asyncio.shield(search)

    async def _search(self, key: str) -> V:
        try:
            found = await self._find(key)
        finally:
            del self._searches[key]
        self._known.pop(key, None)  # so that it moves to the end
        if len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[key] = (time.monotonic() + found.ttl, found.value)
        return found.value
