"""Add what was counted in memory to the database, about once a second and for as long as there is something."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.store.postgres.database import Database
from mta.store.postgres.errors import StoreUnavailable

EVERY = 1.0  # seconds

log = get_logger()


class PeriodicFlush:
    """``flush`` adds it and raises StoreUnavailable; ``pending`` says whether there is anything to add."""

    def __init__(
        self,
        database: Database,
        kind: BackgroundTask,
        flush: Callable[[], Awaitable[None]],
        pending: Callable[[], object],
    ) -> None:
        self._tasks, self._kind, self._flush, self._pending = database.tasks, kind, flush, pending
        self._running: asyncio.Task[None] | None = None
        self._stopped = False

    def begin(self) -> None:
        """Flush from now on, unless that is going on already or has been stopped."""
        if not self._stopped and (self._running is None or self._running.done()):
            self._running = self._tasks.start(self._kind, self._go_on)

    async def stop(self) -> None:
        """Flush once more, if the database can be reached, and then no more."""
        self._stopped = True
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        try:
            await self._flush()
        except StoreUnavailable:
            log.info("counts are lost with this worker", what=self._kind.value)

    async def _go_on(self) -> None:
        await asyncio.sleep(EVERY)
        while self._pending():
            await self._flush()
            await asyncio.sleep(EVERY)
