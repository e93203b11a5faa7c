"""Deliveries on their way back to the store: not attempted, and due again at some moment, or held.

They are collected while a return is under way, so that a crowd costs a few statements.

It must never drop a delivery while it is ours: it stays here, and in the window, until the store has it back.

*Limits.* Rows that are not ours any more are passed over by the store, silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from mta.mail.delivery import Delivery
from mta.observe.log import get_logger
from mta.queue.ready_queue import ActiveQueue
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.messages import Messages

log = get_logger()

PAUSE = 1.0  # seconds between tries while the store is away


class Requeue:
    """``window``: which returned deliveries leave."""

    def __init__(self, messages: Messages, window: ActiveQueue) -> None:
        self._messages = messages
        self._window = window
        self._waiting: dict[tuple[datetime | None, str | None], list[Delivery]] = {}
        self._running: asyncio.Task[None] | None = None

    def add(self, deliveries: Sequence[Delivery], wait: timedelta | None = None) -> None:
        """Return ``deliveries``, due after ``wait`` (in whole seconds), or as they were before. No attempt counts."""
        if not deliveries:
            return
        due_at = None if wait is None else (datetime.now(UTC) + wait).replace(microsecond=0) + timedelta(seconds=1)
        self._collect((due_at, None), deliveries)

    def hold(self, delivery: Delivery, reason: str) -> None:
        """Return ``delivery``, to be held back until somebody releases it."""
        self._collect((None, reason), [delivery])

    def _collect(self, kind: tuple[datetime | None, str | None], deliveries: Sequence[Delivery]) -> None:
        self._waiting.setdefault(kind, []).extend(deliveries)
        if self._running is None:
            self._running = asyncio.create_task(self._run())

    async def drain(self, seconds: float) -> None:
        """Wait until nothing is on its way, for at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting:
                kind, deliveries = next(iter(self._waiting.items()))
                del self._waiting[kind]
                due_at, hold = kind
                try:
                    await (
                        self._messages.give_back(deliveries, due_at)
                        if hold is None
                        else self._messages.hold(deliveries, hold)
                    )
                except Exception as error:
                    if not isinstance(error, StoreUnavailable):
                        log.exception("deliveries could not be given back")
                    self._waiting.setdefault(kind, []).extend(deliveries)
                    await asyncio.sleep(PAUSE)
                else:
                    for delivery in deliveries:
                        self._window.leave(delivery)
        finally:
            self._running = None
