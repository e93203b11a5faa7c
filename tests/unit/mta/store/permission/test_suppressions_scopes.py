"""Suppressions of all mail, of all marketing, of marketing about one topic: each takes out what is within its scope."""

from __future__ import annotations

import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.store import Store
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")


async def fill(store: Store) -> None:
    """One copy of each kind to Ann, for account 1; and marketing of account 2."""
    marketing = {"stream": Stream.MARKETING}
    for more in ({}, {**marketing, "topic": "offers"}, {**marketing, "topic": "news"}, marketing):
        await store.messages.enqueue(make.accepted(str(ANN), **more), leased=False)  # type: ignore[arg-type]
    other = make.accepted(str(ANN), account_id=2, stream=Stream.MARKETING, topic="offers")
    await store.messages.enqueue(other, leased=False)


async def queued(store: Store) -> set[tuple[int, str | None]]:
    """(account, topic) of what is left; for transactional mail the topic is "-"."""
    async with store._database.session() as connection:
        rows = await connection.fetch(
            "select account_id, case when stream = 'marketing' then topic else '-' end from queue"
        )
    return {(row[0], row[1]) for row in rows}


@pytest.mark.parametrize(
    ("topic", "left"),
    [
        ("offers", {(1, "-"), (1, "news"), (1, None), (2, "offers")}),
        ("*", {(1, "-"), (2, "offers")}),
        ("", {(2, "offers")}),
    ],
)
async def test_adding_pulls_what_is_within_the_scope(
    store: Store, topic: str, left: set[tuple[int, str | None]]
) -> None:
    await fill(store)
    assert await store.suppressions.add(1, ANN, detail="revoked", topic=topic) == 5 - len(left)
    assert await queued(store) == left


async def test_for_everybody_it_reaches_all_accounts(store: Store) -> None:
    await fill(store)
    assert await store.suppressions.add(None, ANN, detail="objected", topic="offers") == 2
    assert await queued(store) == {(1, "-"), (1, "news"), (1, None)}


async def test_what_is_found_says_what_it_covers(store: Store) -> None:
    await store.suppressions.add(1, ANN, detail="revoked", topic="offers")
    (found,) = await store.suppressions.find(1, [ANN])
    assert found.covers(Stream.MARKETING, "offers")
    assert not found.covers(Stream.MARKETING, "news")
    assert not found.covers(Stream.MARKETING, None)
    assert not found.covers(Stream.TRANSACTIONAL, "offers")
    await store.suppressions.add(None, ANN, detail="complained")
    assert [each.topic for each in await store.suppressions.find(1, [ANN])] == ["", "offers"]


async def test_scopes_are_added_and_lifted_one_by_one(store: Store) -> None:
    for topic in ("offers", "*", "offers"):
        await store.suppressions.add(1, ANN, detail="revoked", topic=topic)
    assert not await store.suppressions.remove(1, ANN, reason="asked")
    assert await store.suppressions.remove(1, ANN, reason="asked", topic="*")
    assert [each.suppression.topic for each in await store.suppressions.of(ANN)] == ["offers"]
    assert [each.topic for each in await store.suppressions.list(1)] == ["offers"]
