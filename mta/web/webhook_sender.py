"""Sends accounts' events to their webhooks: signed batches, in order, until each is acknowledged.

    watermark ▶ lease webhooks that are due ▶ read after the cursor ▶ POST ▶ 2xx: move the cursor ▶ next batch
                                                                         ▶ else: back off, same cursor

Each webhook has one request at a time, so events arrive in order. A slow or unreachable receiver delays only itself.

Invariants: No event is skipped; the body of an answer is not read.
Limitations: At least once. If an answer is lost, or the process dies before the cursor was moved, the batch is sent
again with the same ids, possibly followed by newer events.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from config.schema import WebhookSettings
from mta.admin.service.webhook_client import MAX_EVENTS, WebhookClient, batch
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask, Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.journal.webhooks import WebhookTurn
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store

log = get_logger()

FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0  # seconds before the first retry, and at most between retries
POLL_EVERY = 1.0  # seconds
MEASURE_EVERY = 10.0
LEASE_MARGIN = 15.0  # seconds that a lease lasts longer than a request may


def wait_after(failures: int, jitter: float) -> float:
    """Return the seconds until the next attempt after ``failures`` (1 or more) in a row: doubled each time, up to 1 h.

    ``jitter``: a random number from 0 to 1, which moves the wait by up to a quarter.
    """
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 20))
    return min(LONGEST_WAIT, wait * (0.75 + 0.5 * jitter))


class WebhookSender:
    """Serves all webhooks that are due. Several processes may run one on the same database."""

    def __init__(
        self,
        store: Store,
        settings: WebhookSettings,
        metrics: Metrics,
        tasks: BackgroundTasks,
        *,
        allow_private: bool = False,
    ) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._allow_private = allow_private
        self._client = WebhookClient(settings.timeout, allow_private=allow_private)
        self._serving: set[asyncio.Task[None]] = set()
        self._loops = [
            tasks.every(BackgroundTask.WEBHOOKS, POLL_EVERY, self._poll),
            tasks.every(BackgroundTask.WEBHOOK_LAG, MEASURE_EVERY, self._measure),
        ]

    def configure(self, settings: WebhookSettings, *, allow_private: bool = False) -> None:
        """Apply reloaded settings; running requests finish with the old ones."""
        if (settings, allow_private) != (self._settings, self._allow_private):
            old, running = self._client, list(self._serving)
            self._settings, self._allow_private = settings, allow_private
            self._client = WebhookClient(settings.timeout, allow_private=allow_private)
            self._start(_close(old, running))

    async def stop(self) -> None:
        """Stop at once; what was being sent will be sent again by the next sender."""
        tasks = [*self._loops, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _poll(self) -> None:
        """Start on webhooks that are due, up to the concurrency limit."""
        free = self._settings.concurrency - len(self._serving)
        if free <= 0:
            return
        watermark = await self._store.outbox.watermark()
        for turn in await self._store.webhooks.lease(watermark, free, self._lease_seconds):
            self._start(self._serve(turn, self._client, self._settings.alert_after))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="webhook")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    @property
    def _lease_seconds(self) -> float:
        return self._settings.timeout + LEASE_MARGIN

    async def _serve(self, turn: WebhookTurn, client: WebhookClient, alert_after: int) -> None:
        """Send batch after batch to one webhook, until there are no more events or one is not acknowledged."""
        number = turn.id
        try:
            following: WebhookTurn | None = turn
            while following is not None:
                following = await self._step(following, client, alert_after)
        except StoreUnavailable:
            return  # the lease expires, and the next sender continues at the same cursor
        except Exception:
            log.exception("webhook failed", webhook=number)
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await self._store.webhooks.give_back(number)
            raise
        else:
            with suppress(StoreUnavailable):
                await self._store.webhooks.give_back(number)

    async def _step(self, turn: WebhookTurn, client: WebhookClient, alert_after: int) -> WebhookTurn | None:
        """Send one batch. Return the next turn, or None if there is nothing more to do."""
        watermark = await self._store.outbox.watermark()
        events = await self._store.outbox.read(turn.account_id, turn.cursor, watermark, turn.kinds, MAX_EVENTS)
        if not events:
            await self._store.webhooks.taken(turn.id, max(turn.cursor, watermark), self._lease_seconds, sent=False)
            return None
        sending = batch(turn.account, events)
        if (reason := await client.send(turn, sending.body)) is not None:
            await self._failed(turn, reason, alert_after)
            return None
        complete = sending.count == len(events) < MAX_EVENTS
        cursor = watermark if complete else sending.last
        following = await self._store.webhooks.taken(turn.id, cursor, self._lease_seconds, sent=True)
        self._metrics.webhook_requests[Success.YES].inc()
        self._metrics.webhook_events.inc(sending.count)
        return None if complete else following

    async def _failed(self, turn: WebhookTurn, reason: str, alert_after: int) -> None:
        wait = wait_after(turn.failures + 1, random.random())  # noqa: S311 - jitter only
        failures = await self._store.webhooks.failed(turn.id, reason, wait, alert_after)
        self._metrics.webhook_requests[Success.NO].inc()
        if failures == alert_after:
            log.error("webhook failing", webhook=turn.id, account=turn.account, failures=failures, reason=reason)

    async def _measure(self) -> None:
        pressure = await self._store.webhooks.pressure(self._settings.alert_after)
        self._metrics.webhooks_failing.set(pressure.failing)
        self._metrics.webhook_lag.set(pressure.lag)


async def _close(client: WebhookClient, after: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*after, return_exceptions=True)
    await client.close()
