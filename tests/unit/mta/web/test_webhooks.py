"""The sender of events against a real receiver and a real database: once, in order, signed, patient."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import orjson
import pytest

from config.schema import WebhookSettings as Settings
from mta.observe.labels import Success
from mta.observe.metrics import Metrics
from mta.observe.webhooks import MOST_EVENTS, sign
from mta.store.journal import outbox
from mta.store.store import Store
from mta.web import webhooks
from mta.web.webhooks import WebhookSender
from policy.accounts.account import AccountStatus
from tests.unit.mta.store import make
from tests.unit.mta.web.hook import Hook

LOCAL = Settings(timeout="5s", alert_after=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(webhooks, "MEASURE_EVERY", 0.05)


@pytest.fixture
async def shop(store: Store) -> int:
    return (await store.accounts.add("shop", status=AccountStatus.ACTIVE)).id


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook()
    await hook.start()
    yield hook
    await hook.stop()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def sender(store: Store, metrics: Metrics) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(store, LOCAL, metrics, allow_private=True)
    yield sender
    await sender.stop()


async def say(store: Store, account_id: int, count: int, kind: str = "said", **data: object) -> None:
    async with store._database.session(30) as connection, connection.transaction():
        for number in range(count):
            await outbox.note(connection, account_id, kind, {"number": number} | data)


async def until(condition: Callable[[], bool]) -> None:
    await make.until(condition, seconds=60)


async def due(store: Store) -> None:
    await make.execute(store, "update webhook set due_at = now()")


async def test_batches_in_order_each_signed(
    store: Store, shop: int, hook: Hook, sender: WebhookSender, metrics: Metrics
) -> None:
    _, secret = await store.webhooks.add(shop, hook.url, by="joe")
    await say(store, shop, 2 * MOST_EVENTS + 5)
    events = await hook.until_events(2 * MOST_EVENTS + 5)
    assert [event["data"]["number"] for event in events] == list(range(2 * MOST_EVENTS + 5))
    assert [len(orjson.loads(body)["events"]) for body in hook.bodies] == [MOST_EVENTS, MOST_EVENTS, 5]
    for body, signature in zip(hook.bodies, hook.signatures, strict=True):
        at = int(signature.partition(",")[0].removeprefix("t="))
        assert signature == sign([secret], at, body)
    assert hook.headers["Content-Type"] == "application/json"
    await until(lambda: metrics.webhook_events.value == 2 * MOST_EVENTS + 5)
    assert metrics.webhook_requests[Success.YES].value == 3


async def test_a_receiver_that_refuses_gets_the_same_again(
    store: Store, shop: int, hook: Hook, sender: WebhookSender, metrics: Metrics
) -> None:
    number, _ = await store.webhooks.add(shop, hook.url, by="joe")
    hook.answers = deque([500, 302])
    await say(store, shop, 3)
    await hook.until_tried(1)
    await until(lambda: metrics.webhook_requests[Success.NO].value == 1)
    await due(store)
    await hook.until_tried(2)
    await until(lambda: metrics.webhooks_failing.value == 1)
    assert "redirects are not followed" in ((await store.webhooks.find(number)).last_error or "")
    assert metrics.webhook_lag.value > 0
    await say(store, shop, 1)
    await due(store)
    events = await hook.until_events(4)
    assert [event["data"]["number"] for event in events] == [0, 1, 2, 0]
    first = [event["id"] for event in orjson.loads(hook.tried[0])["events"]]
    assert [event["id"] for event in events][:3] == first
    assert set(hook.paths) == {"/events"}
    await until(lambda: metrics.webhooks_failing.value == 0)


async def test_what_is_not_wanted_is_passed_over(store: Store, shop: int, hook: Hook, sender: WebhookSender) -> None:
    number, _ = await store.webhooks.add(shop, hook.url, ("failed",), by="joe")
    await say(store, shop, 3, "delivered")
    await say(store, shop, 1, "failed")
    assert [event["kind"] for event in await hook.until_events(1)] == ["failed"]
    await say(store, shop, 2, "delivered")

    async def at_the_end() -> bool:
        return (await store.webhooks.find(number)).cursor == await store.outbox.newest(shop)

    async with asyncio.timeout(60):
        while not await at_the_end():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.02)
    assert len(hook.bodies) == 1


async def test_a_slow_receiver_delays_itself_only(store: Store, shop: int, hook: Hook, sender: WebhookSender) -> None:
    slow = Hook(gate=asyncio.Event())
    await slow.start()
    await store.webhooks.add(shop, slow.url, by="joe")
    await store.webhooks.add(shop, hook.url, by="joe")
    await say(store, shop, 1)
    await slow.until_events(1)
    await say(store, shop, 1)
    assert len(await hook.until_events(2)) == 2
    assert len(slow.bodies) == 1, "one request at a time"
    assert slow.gate
    slow.gate.set()
    assert len(await slow.until_events(2)) == 2
    await slow.stop()


async def test_a_sender_that_dies_is_followed_at_the_same_place(
    store: Store, shop: int, hook: Hook, metrics: Metrics
) -> None:
    hook.gate = asyncio.Event()
    await store.webhooks.add(shop, hook.url, by="joe")
    await say(store, shop, 2)
    first = WebhookSender(store, LOCAL, metrics, allow_private=True)
    await hook.until_events(2)  # taken, but nobody was told
    await first.stop()
    hook.gate.set()
    second = WebhookSender(store, LOCAL, metrics, allow_private=True)
    events = await hook.until_events(4)
    assert [event["id"] for event in events[:2]] == [event["id"] for event in events[2:]]
    await second.stop()


async def test_addresses_that_are_not_public_are_refused_when_it_comes_to_it(
    store: Store, shop: int, hook: Hook, metrics: Metrics
) -> None:
    number, _ = await store.webhooks.add(shop, hook.url.replace("http:", "https:"), by="joe")
    await say(store, shop, 1)
    sender = WebhookSender(store, Settings(), metrics)
    try:
        await until(lambda: metrics.webhook_requests[Success.NO].value == 1)
        known = await store.webhooks.find(number)
        assert known.last_error == "127.0.0.1 is not an address of the public internet"
        assert hook.signatures == []
        sender.configure(LOCAL, allow_private=True)
        await make.execute(store, "update webhook set url = $1, due_at = now()", hook.url)
        assert len(await hook.until_events(1)) == 1
    finally:
        await sender.stop()


async def test_a_receiver_that_is_not_there_or_does_not_answer(store: Store, shop: int, metrics: Metrics) -> None:
    silent = Hook(gate=asyncio.Event())
    await silent.start()
    gone, _ = await store.webhooks.add(shop, Hook().url, by="joe")
    mute, _ = await store.webhooks.add(shop, silent.url, by="joe")
    await say(store, shop, 1)
    sender = WebhookSender(store, Settings(timeout="200ms"), metrics, allow_private=True)
    try:
        await until(lambda: metrics.webhook_requests[Success.NO].value >= 2)
        assert "Cannot connect" in ((await store.webhooks.find(gone)).last_error or "")
        assert (await store.webhooks.find(mute)).last_error == "no answer within 0.2 s"
    finally:
        assert silent.gate
        silent.gate.set()
        await sender.stop()
        await silent.stop()
