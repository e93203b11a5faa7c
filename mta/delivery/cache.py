"""What was found out, for as long as it holds; and one search at a time for each key.

It must never let one caller's cancellation disturb the others who wait for the same answer.

*Limits.* When it is full the oldest entry goes, used or not.
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
    """An answer and the seconds for which it holds."""

    value: V
    ttl: float


class Cache(Generic[V]):
    """``size``: entries kept. ``find`` must not raise; what it returns is kept, good news or bad."""

    def __init__(self, size: int, find: Callable[[str], Awaitable[CachedAnswer[V]]]) -> None:
        self._size = size
        self._find = find
        self._known: dict[str, tuple[float, V]] = {}
        self._searches: dict[str, asyncio.Task[V]] = {}

    def peek(self, key: str) -> V | None:
        """The answer if it is known now. Never waits."""
        known = self._known.get(key)
        return known[1] if known is not None and time.monotonic() < known[0] else None

    async def get(self, key: str) -> V:
        """The answer, known or found; many callers at once cause one search."""
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
