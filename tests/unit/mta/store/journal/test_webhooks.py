"""Webhooks: made, changed with a history, served by one at a time, and their cursors."""

from __future__ import annotations

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.journal import outbox
from mta.store.journal.webhooks import MOST, Pressure, WebhookError
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.store import make

URL = "https://example.com/events"


@pytest.fixture
async def other(database_url: str, database_settings: DatabaseSettings, secrets: Secrets):  # type: ignore[no-untyped-def]
    """Another process on the same database."""
    store = await Store.open(database_url, database_settings, secrets)
    yield store
    await store.close()


@pytest.fixture
async def shop(store: Store) -> int:
    return (await store.accounts.add("shop", status=AccountStatus.ACTIVE)).id


async def say(store: Store, account_id: int, *kinds: str) -> int:
    async with store._database.session() as connection:
        for kind in kinds:
            await outbox.note(connection, account_id, kind, {})
    return await store.outbox.watermark()


async def test_a_secret_is_kept_sealed_and_never_shown(store: Store, shop: int) -> None:
    number, secret = await store.webhooks.add(shop, URL, ("failed",), by="joe")
    row = await make.row(store, "select sealed from webhook")
    assert secret.startswith("whsec_")
    assert secret.encode() not in row["sealed"]
    turn = await store.webhooks.turn(number)
    assert turn.keys == (secret,)
    known = await store.webhooks.find(number)
    assert (known.url, known.kinds, known.waiting, known.failures) == (URL, ("failed",), 0, 0)
    history = await store.accounts.history(shop)
    assert dict(history[-1].data) == {"added": number, "url": URL, "kinds": ["failed"]}
    for text in (repr(turn), repr(known), repr(history)):
        assert secret not in text


async def test_one_at_a_time_and_from_its_cursor(store: Store, other: Store, shop: int) -> None:
    number, _ = await store.webhooks.add(shop, URL, by="joe")
    upto = await say(store, shop, "one", "two")
    (turn,) = await store.webhooks.lease(upto, 10, 60)
    assert await other.webhooks.lease(upto, 10, 60) == []
    assert await store.webhooks.lease(upto, 10, 60) == [], "nor again by whoever has it"
    first, second = await store.outbox.read(shop, turn.cursor, upto)
    following = await store.webhooks.taken(number, first.id, 60, sent=True)
    assert following is not None
    assert following.cursor == first.id
    await store.webhooks.give_back(number)
    (turn,) = await other.webhooks.lease(upto, 10, 60)
    assert [event.id for event in await other.outbox.read(shop, turn.cursor, upto)] == [second.id]


async def test_whoever_lost_its_lease_moves_nothing(store: Store, other: Store, shop: int) -> None:
    number, _ = await store.webhooks.add(shop, URL, by="joe")
    upto = await say(store, shop, "one")
    await store.webhooks.lease(upto, 10, 60)
    await make.execute(store, "update webhook set lease_until = now() - interval '1 second'")
    (turn,) = await other.webhooks.lease(upto, 10, 60)
    assert await store.webhooks.taken(number, upto, 60, sent=True) is None
    assert await store.webhooks.failed(number, "gone", 5, 3) == 0
    known = await store.webhooks.find(number)
    assert (known.cursor, known.failures) == (turn.cursor, 0)


async def test_failures_wait_and_the_nth_is_an_event(store: Store, shop: int) -> None:
    number, _ = await store.webhooks.add(shop, URL, by="joe")
    upto = await say(store, shop, "one")
    for failures in (1, 2, 3):
        await store.webhooks.lease(upto, 10, 60)
        assert await store.webhooks.failed(number, "answered\n500", 100, alert_after=2) == failures
        assert await store.webhooks.lease(upto, 10, 60) == []
        await make.execute(store, "update webhook set due_at = now()")
    assert (await store.webhooks.find(number)).last_error == "answered 500"
    assert await make.count(store, "event where kind = 'webhook_failing'") == 1
    assert (await store.webhooks.pressure(2)).failing == 1
    assert (await store.webhooks.pressure(9)).failing == 0
    assert (await store.webhooks.pressure(9)).lag > 0
    await store.webhooks.lease(upto, 10, 60)
    await store.webhooks.taken(number, upto, 60, sent=True)
    assert (await store.webhooks.find(number)).failures == 0
    assert await store.webhooks.pressure(2) == Pressure(0, 0.0)


async def test_a_pause_keeps_what_happens(store: Store, shop: int) -> None:
    number, _ = await store.webhooks.add(shop, URL, by="joe", paused=True)
    upto = await say(store, shop, "one")
    assert await store.webhooks.lease(upto, 10, 60) == []
    await store.webhooks.resume(number, by="joe")
    (turn,) = await store.webhooks.lease(upto, 10, 60)
    await store.webhooks.pause(number, by="joe")
    assert await store.webhooks.taken(turn.id, upto, 60, sent=True) is None, "the next batch does not go"
    known = await store.webhooks.find(number)
    assert (known.cursor, known.paused_at is None) == (upto, False), "but what was taken was taken"


async def test_a_replay_goes_back_only_and_past_whoever_sends(store: Store, shop: int) -> None:
    number, _ = await store.webhooks.add(shop, URL, by="joe")
    upto = await say(store, shop, "one", "two", "three")
    await store.webhooks.lease(upto, 10, 60)
    await store.webhooks.taken(number, upto, 60, sent=True)
    await store.webhooks.replay(number, upto - 2, by="joe")
    assert await store.webhooks.taken(number, upto, 60, sent=True) is None, "an old answer does not undo it"
    (turn,) = await store.webhooks.lease(upto, 10, 60)
    assert [event.kind for event in await store.outbox.read(shop, turn.cursor, upto)] == ["two", "three"]
    with pytest.raises(WebhookError, match="only goes back"):
        await store.webhooks.replay(number, upto + 1, by="joe")


async def test_for_a_day_two_secrets_sign(store: Store, shop: int) -> None:
    number, old = await store.webhooks.add(shop, URL, by="joe")
    new = await store.webhooks.rotate(number, by="joe")
    assert (await store.webhooks.turn(number)).keys == (new, old)
    await make.execute(store, "update webhook set before_until = now()")
    assert (await store.webhooks.turn(number)).keys == (new,)


async def test_what_is_refused_says_why(store: Store, shop: int) -> None:
    for change in (store.webhooks.find, store.webhooks.turn):
        with pytest.raises(WebhookError, match="there is no webhook 77"):
            await change(77)
    with pytest.raises(WebhookError, match="there is no webhook 77"):
        await store.webhooks.remove(77, by="joe")
    for _ in range(MOST):
        await store.webhooks.add(shop, URL, by="joe")
    with pytest.raises(WebhookError, match="at most"):
        await store.webhooks.add(shop, URL, by="joe")
    assert len(await store.webhooks.list(shop)) == MOST
    await store.webhooks.remove((await store.webhooks.list())[0].id, by="joe")
    assert len(await store.webhooks.list(shop + 1)) == 0
    assert len(await store.webhooks.list()) == MOST - 1
