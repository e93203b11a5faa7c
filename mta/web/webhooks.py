"""Sends accounts' events to their webhooks: signed batches, in order, until each is taken.

    horizon ▶ lease webhooks that are due ▶ read behind the cursor ▶ POST ▶ 2xx: cursor forward ▶ next batch
                                                                          ▶ else: back off, from the same cursor

One batch of a webhook is under way at a time, so what happens to a message arrives in the order in which it happened. A
receiver that is slow or away delays itself only.

It must never skip an event, follow a redirect, read what the receiver answers, or connect to an address that is not
public.

*Limits.* At least once: an answer that is lost, or a process that dies before the cursor was moved, sends a batch
again, the same ids in it (and perhaps more behind them).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from config.schema import WebhookSettings
from mta.mail.reply import sanitise
from mta.observe.labels import Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.webhooks import MOST_EVENTS, SIGNATURE, batch, sign, wait_after
from mta.store.journal.webhooks import WebhookTurn
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from mta.web.reach import check_url, connector

log = get_logger()

LOOK_EVERY = 1.0  # seconds
MEASURE_EVERY = 10.0
SPARE = 15.0  # seconds that a lease lasts longer than a request may
_HEADERS = {"Content-Type": "application/json", "User-Agent": "Imprimatur-Webhooks/1", "Accept-Encoding": "identity"}


def open_client(settings: WebhookSettings, *, allow_private: bool = False) -> ClientSession:
    """What requests to webhooks are made with. To be closed by the caller."""
    return ClientSession(
        connector=connector(allow_private=allow_private),
        cookie_jar=DummyCookieJar(),
        timeout=ClientTimeout(total=settings.timeout),
        headers=_HEADERS,
        auto_decompress=False,
        trust_env=False,
    )


async def post(
    client: ClientSession, turn: WebhookTurn, body: bytes, *, timeout: float, allow_private: bool = False
) -> str | None:
    """Send one signed body; None if it was taken, else why not, in a few words."""
    try:
        check_url(turn.url, allow_private=allow_private)
        headers = {SIGNATURE: sign(turn.keys, int(time.time()), body)}
        async with (
            asyncio.timeout(timeout),
            client.post(turn.url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
    except TimeoutError:
        return f"no answer within {timeout:g} s"
    except (ClientError, OSError, ValueError) as error:
        return sanitise(str(error) or type(error).__name__)
    if 200 <= status < 300:
        return None
    return f"answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")


async def _close(client: ClientSession, after: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*after, return_exceptions=True)
    await client.close()


class WebhookSender:
    """The sending side of one process; several may run on one database."""

    def __init__(
        self, store: Store, settings: WebhookSettings, metrics: Metrics, *, allow_private: bool = False
    ) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._private = allow_private
        self._client = open_client(settings, allow_private=allow_private)
        self._serving: set[asyncio.Task[None]] = set()
        self._work = [
            asyncio.create_task(self._forever(work, every), name=f"webhooks: {name}")
            for name, work, every in (("send", self._look, LOOK_EVERY), ("measure", self._measure, MEASURE_EVERY))
        ]

    def configure(self, settings: WebhookSettings, *, allow_private: bool = False) -> None:
        """Take over reloaded settings; what is under way ends as it began."""
        if (settings, allow_private) != (self._settings, self._private):
            before, under_way = self._client, list(self._serving)
            self._settings, self._private = settings, allow_private
            self._client = open_client(settings, allow_private=allow_private)
            self._start(_close(before, under_way))

    async def stop(self) -> None:
        """End at once; what was under way is sent again by whoever comes next."""
        tasks = [*self._work, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _forever(self, work: Callable[[], Awaitable[None]], every: float) -> None:
        while True:
            try:
                await work()
            except StoreUnavailable:
                pass  # said by others, and events wait
            except Exception:
                log.exception("webhooks: a round failed")
            await asyncio.sleep(every)

    async def _look(self) -> None:
        """Begin with the webhooks that are due, as many as there is room for."""
        room = self._settings.concurrency - len(self._serving)
        if room <= 0:
            return
        upto = await self._store.outbox.horizon()
        for turn in await self._store.webhooks.lease(upto, room, self._lease_seconds):
            self._start(self._serve(turn, self._client, self._settings))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="webhook")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    @property
    def _lease_seconds(self) -> float:
        return self._settings.timeout + SPARE

    async def _serve(self, turn: WebhookTurn, client: ClientSession, settings: WebhookSettings) -> None:
        """Send what there is for one webhook, batch after batch, until all is taken or one is not."""
        number = turn.id
        try:
            following: WebhookTurn | None = turn
            while following is not None:
                following = await self._step(following, client, settings)
        except StoreUnavailable:
            return  # the lease runs out; from the same cursor then
        except Exception:
            log.exception("webhook: cannot be served", webhook=number)
        except asyncio.CancelledError:
            with suppress(StoreUnavailable):
                await self._store.webhooks.give_back(number)
            raise
        else:
            with suppress(StoreUnavailable):
                await self._store.webhooks.give_back(number)

    async def _step(self, turn: WebhookTurn, client: ClientSession, settings: WebhookSettings) -> WebhookTurn | None:
        """One batch. The next turn, or None when this one is over."""
        upto = await self._store.outbox.horizon()
        events = await self._store.outbox.read(turn.account_id, turn.cursor, upto, turn.kinds, MOST_EVENTS)
        if not events:
            await self._store.webhooks.taken(turn.id, max(turn.cursor, upto), self._lease_seconds, sent=False)
            return None
        sending = batch(turn.account, events)
        why = await post(client, turn, sending.body, timeout=settings.timeout, allow_private=self._private)
        if why is not None:
            await self._failed(turn, settings, why)
            return None
        whole = sending.count == len(events) < MOST_EVENTS
        cursor = upto if whole else sending.last
        following = await self._store.webhooks.taken(turn.id, cursor, self._lease_seconds, sent=True)
        self._metrics.webhook_requests[Success.YES].inc()
        self._metrics.webhook_events.inc(sending.count)
        return None if whole else following

    async def _measure(self) -> None:
        pressure = await self._store.webhooks.pressure(self._settings.alert_after)
        self._metrics.webhooks_failing.set(pressure.failing)
        self._metrics.webhook_lag.set(pressure.lag)

    async def _failed(self, turn: WebhookTurn, settings: WebhookSettings, why: str) -> None:
        wait = wait_after(turn.failures + 1, random.random())  # noqa: S311 - only to spread the tries
        times = await self._store.webhooks.failed(turn.id, why, wait, settings.alert_after)
        self._metrics.webhook_requests[Success.NO].inc()
        if times == settings.alert_after:
            log.error("webhook: events are not taken", webhook=turn.id, account=turn.account, times=times, reason=why)
