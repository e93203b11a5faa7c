"""Queueing, leasing and settling messages."""

from __future__ import annotations

import pytest

from mta.store.messages import ContentMissing
from mta.store.store import Store
from tests.unit.mta.store import make


async def count(store: Store, table: str) -> int:
    async with store._database.session() as connection:
        number: int = await connection.fetchval(f"select count(*) from {table}")
        return number


async def test_a_fresh_message_is_ours_at_once_and_gone_once_delivered(store: Store) -> None:
    accepted = make.accepted("ann@example.net")
    (delivery,) = await store.messages.put(accepted, leased=True)
    assert delivery.content == accepted.message.content
    assert delivery.whole
    assert await store.messages.lease(deliveries=10, octets=10**6) == []
    await store.messages.settle(make.settlement(delivery))
    assert [await count(store, each) for each in ("queue", "content", "message", "event")] == [0, 0, 1, 1]
    (event,) = await store.events.of_message(accepted.message.id)
    assert event.kind == "delivered"
    assert event.data["text"] == "queued as 4F2C1"


async def test_a_message_that_does_not_stay_is_leased_and_read_again(store: Store) -> None:
    accepted = make.accepted("ann@example.net", size=60_000)
    assert await store.messages.put(accepted, leased=False) == []
    (delivery,) = await store.messages.lease(deliveries=10, octets=10**6)
    assert delivery.content is None
    assert await store.messages.content(delivery.message_id) == accepted.message.content
    (story,) = [await store.explain.message(delivery.message_id)]
    assert story
    assert story.queued[0].state.value == "leased"


async def test_content_that_is_not_whole_is_never_given_out(store: Store) -> None:
    accepted = make.accepted(size=60_000)
    await store.messages.put(accepted, leased=False)
    async with store._database.session() as connection:
        await connection.execute("delete from content where part = 3")
    with pytest.raises(ContentMissing):
        await store.messages.content(accepted.message.id)
