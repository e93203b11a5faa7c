"""Webhooks: batches, signatures and retries, and the sender against a real receiver and a real database."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import WebhookSettings as Settings
from mta.admin.service.webhook_client import MAX_BYTES, MAX_EVENTS, batch, sign
from mta.observe.account_events import AccountEvent, fields
from mta.observe.background import BackgroundTasks
from mta.observe.labels import Success
from mta.observe.metrics import Metrics
from mta.store.journal import outbox
from mta.store.store import Store
from mta.web import webhook_sender
from mta.web.webhook_sender import LONGEST_WAIT, WebhookSender, wait_after
from policy.accounts.account import AccountStatus
from tests.unit.mta.observe.test_account_events import AT, failed
from tests.unit.mta.store import make
from tests.unit.mta.web.hook import Hook

LOCAL = Settings(timeout="5s", alert_after=2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_sender, "POLL_EVERY", 0.05)
    monkeypatch.setattr(webhook_sender, "MEASURE_EVERY", 0.05)


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
    sender = WebhookSender(store, LOCAL, metrics, BackgroundTasks(metrics), allow_private=True)
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
    await say(store, shop, 2 * MAX_EVENTS + 5)
    events = await hook.until_events(2 * MAX_EVENTS + 5)
    assert [event["data"]["number"] for event in events] == list(range(2 * MAX_EVENTS + 5))
    assert [len(orjson.loads(body)["events"]) for body in hook.bodies] == [MAX_EVENTS, MAX_EVENTS, 5]
    for body, signature in zip(hook.bodies, hook.signatures, strict=True):
        at = int(signature.partition(",")[0].removeprefix("t="))
        assert signature == sign([secret], at, body)
    assert hook.headers["Content-Type"] == "application/json"
    await until(lambda: metrics.webhook_events.value == 2 * MAX_EVENTS + 5)
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
    first = WebhookSender(store, LOCAL, metrics, BackgroundTasks(metrics), allow_private=True)
    await hook.until_events(2)  # taken, but nobody was told
    await first.stop()
    hook.gate.set()
    second = WebhookSender(store, LOCAL, metrics, BackgroundTasks(metrics), allow_private=True)
    events = await hook.until_events(4)
    assert [event["id"] for event in events[:2]] == [event["id"] for event in events[2:]]
    await second.stop()


async def test_addresses_that_are_not_public_are_refused_when_it_comes_to_it(
    store: Store, shop: int, hook: Hook, metrics: Metrics
) -> None:
    number, _ = await store.webhooks.add(shop, hook.url.replace("http:", "https:"), by="joe")
    await say(store, shop, 1)
    sender = WebhookSender(store, Settings(), metrics, BackgroundTasks(metrics))
    try:
        await until(lambda: metrics.webhook_requests[Success.NO].value == 1)
        known = await store.webhooks.find(number)
        assert known.last_error == "127.0.0.1 is not a public internet address"
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
    sender = WebhookSender(store, Settings(timeout="200ms"), metrics, BackgroundTasks(metrics), allow_private=True)
    try:
        await until(lambda: metrics.webhook_requests[Success.NO].value >= 2)
        assert "Cannot connect" in ((await store.webhooks.find(gone)).last_error or "")
        assert (await store.webhooks.find(mute)).last_error == "no answer within 0.2 s"
    finally:
        assert silent.gate
        silent.gate.set()
        await sender.stop()
        await silent.stop()


@pytest.mark.parametrize(
    ("keys", "at", "body", "signature"),
    [
        (
            ["whsec_test"],
            1700000000,
            b'{"account":"shop","events":[]}',
            "t=1700000000,v1=a6059da000c6d6a306bf42e3a5aa4bb4d883db0324639ac0618932694e6edae8",
        ),
        (["key"], 1, b"", "t=1,v1=53123bc365c2fe4bee48bc5cc6cd6c19699147d43513154ed34277c7c063e80f"),
        (
            ["new", "old"],
            12,
            b"\xff",
            "t=12,v1=b1d11d3e9fd83a528b7e8519855f92809074509b1f25aed86a165d5a6dab3152"
            ",v1=bc6559ff86e2e26fab58411bfde398c2c3d3ca1eea65bb5bfa777f281d0e985a",
        ),
    ],
)
def test_signatures_are_those_that_openssl_makes(keys: list[str], at: int, body: bytes, signature: str) -> None:
    assert sign(keys, at, body) == signature


def test_a_batch_is_one_json_document_in_order() -> None:
    made = batch("shop", [failed(number) for number in (3, 4, 9)])
    assert (made.count, made.last) == (3, 9)
    assert orjson.loads(made.body) == {"account": "shop", "events": [fields(failed(n)) for n in (3, 4, 9)]}


@given(st.lists(st.integers(min_value=0, max_value=MAX_BYTES * 2 // 3), min_size=1, max_size=12))
def test_batches_are_bounded_and_make_the_whole_together(sizes: list[int]) -> None:
    events = [failed(number, text="x" * size) for number, size in enumerate(sizes, 1)]
    seen: list[int] = []
    while len(seen) < len(events):
        made = batch("shop", events[len(seen) :])
        assert made.count == 1 or len(made.body) <= MAX_BYTES + 100
        seen += [event["id"] for event in orjson.loads(made.body)["events"]]
        assert seen[-1] == made.last
    assert seen == [event.id for event in events]


def test_a_batch_has_no_more_events_than_it_may() -> None:
    assert batch("shop", [AccountEvent(n, AT, "accepted") for n in range(MAX_EVENTS + 5)]).count == MAX_EVENTS


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0, max_value=1))
def test_waits_grow_to_an_hour_and_never_beyond(failures: int, share: float) -> None:
    wait = wait_after(failures, share)
    assert 3 < wait <= LONGEST_WAIT
    assert wait_after(failures + 1, share) >= wait
    if failures > 11:
        assert wait >= 0.75 * LONGEST_WAIT
