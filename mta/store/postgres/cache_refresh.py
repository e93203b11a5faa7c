"""Keep an in-memory copy of a small table fresh: read at start, on every change, and every half minute.

The owner holds the copy and reads it; this module decides when. The periodic read covers missed notifications.

Invariants: a reading that failed is tried again, and an older reading never replaces a newer one.

Limitations: for a moment after a change the old copy still answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask
from mta.store.postgres.errors import StoreUnavailable

REFRESH = 30.0  # seconds


class Freshness:
    """``read``: reads the copy anew; raises StoreUnavailable. ``name``: of the task that keeps it."""

    def __init__(self, tasks: BackgroundTasks, name: BackgroundTask, read: Callable[[], Awaitable[None]]) -> None:
        self._tasks, self._name, self._read = tasks, name, read
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the copy and keep it fresh. Raises nothing."""
        try:
            await self.now()
        except StoreUnavailable:
            self._changed.set()
        self._keeping = self._tasks.start(self._name, self._keep)

    async def stop(self) -> None:
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def changed(self, _: str | None = None) -> None:
        """Something was changed, or may have been: read again soon."""
        self._changed.set()

    async def now(self) -> None:
        """Read it now: whoever has changed something wants to see it. Raises StoreUnavailable."""
        async with self._reading:
            await self._read()

    async def _keep(self) -> None:
        while True:
            try:
                async with asyncio.timeout(REFRESH):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.now()
            except BaseException:
                self._changed.set()  # this task is started again, and reads at once
                raise
