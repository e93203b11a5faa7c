"""Tasks that end by themselves; ``mta.observe.background`` has those that go on.

Invariants: one that raises is logged, as no one waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from mta.observe.log import get_logger

log = get_logger()


class ShortTasks:
    """``failed``: what the log says of one that raises."""

    def __init__(self, failed: str) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def join(self) -> None:
        """Wait until all have ended, and those that they have started."""
        while self._running:
            await asyncio.wait(self._running)

    async def stop(self, grace: float) -> None:
        """Let them end; cancel them after ``grace`` seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=grace)
        for task in self._running:
            task.cancel()
        await self.join()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error(self._failed, exc_info=error)
