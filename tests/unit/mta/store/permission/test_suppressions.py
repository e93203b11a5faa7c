"""Suppressions: found for every spelling, pulled out of the queue, never lost sight of."""

from __future__ import annotations

import asyncio

import pytest

from mta.mail.address import Address
from mta.store.store import Store
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
BOB = Address.parse("bob@example.net")


async def queued(store: Store) -> list[tuple[str, int]]:
    async with store._database.session() as connection:
        rows = await connection.fetch("select address, account_id from queue order by address, account_id")
        return [tuple(row) for row in rows]


async def test_an_address_is_suppressed_for_one_account_or_for_everybody(store: Store) -> None:
    await store.suppressions.add(1, ANN, detail="unsubscribed")
    assert [each.address for each in await store.suppressions.find(1, [ANN, BOB])] == [ANN]
    assert await store.suppressions.find(2, [ANN, BOB]) == []
    await store.suppressions.add(None, BOB, detail="complained")
    (found,) = await store.suppressions.find(2, [ANN, BOB])
    assert (found.address, found.account_id, found.detail) == (BOB, None, "complained")


async def test_every_spelling_is_found(store: Store) -> None:
    await store.suppressions.add(1, Address.parse("Ann@EXAMPLE.net"), detail="unsubscribed")
    assert len(await store.suppressions.find(1, [Address.parse('"ann"@example.NET')])) == 1


async def test_questions_of_the_same_moment_are_one_query(store: Store) -> None:
    await store.suppressions.add(1, ANN, detail="unsubscribed")
    asked = 0
    flush = store.suppressions._look._questions._flush

    async def counting(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return await flush(*arguments)  # type: ignore[arg-type]

    store.suppressions._look._questions._flush = counting  # type: ignore[assignment]
    answers = await asyncio.gather(
        *(store.suppressions.find(account, [ANN] if account % 2 else [BOB]) for account in (1, 2, 1, 3, 1))
    )
    assert [len(answer) for answer in answers] == [1, 0, 1, 0, 1]
    assert asked == 1


async def test_adding_pulls_the_queued_copies_of_that_scope_and_says_so(store: Store) -> None:
    both = make.accepted("ann@example.net", "bob@example.net")
    await store.messages.enqueue(both, leased=False)
    for account in (1, 2):
        await store.messages.enqueue(make.accepted("ann@example.net", account_id=account), leased=False)
    assert await store.suppressions.add(1, ANN, detail="unsubscribed") == 2
    assert await queued(store) == [("ann@example.net", 2), ("bob@example.net", 1)]
    assert await store.messages.content(both.message.id) == both.message.content
    (event,) = await store.events.of_message(both.message.id)
    assert (event.kind, event.recipient_index, event.data["reason"]) == ("dropped", 0, "manual")
    assert await store.suppressions.add(None, ANN, detail="complained") == 1
    assert await queued(store) == [("bob@example.net", 1)]
    assert await make.contents(store) == {both.message.id}


async def test_workers_are_told(store: Store) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await store.listen("suppressed", heard.put_nowait)
    while not heard.empty():
        assert heard.get_nowait() is None
    await store.suppressions.add(1, ANN, detail="unsubscribed")
    async with asyncio.timeout(5):
        assert await heard.get() == store.suppressions._secrets.address_key(ANN).hex()


async def test_removing_is_for_one_scope_and_leaves_a_trace(store: Store) -> None:
    await store.suppressions.add(1, ANN, detail="unsubscribed")
    assert not await store.suppressions.remove(None, ANN, reason="asked")
    assert await store.suppressions.remove(1, ANN, reason="asked to come back")
    assert await store.suppressions.find(1, [ANN]) == []
    async with store._database.session() as connection:
        kinds = await connection.fetch("select kind, data ->> 'because' as why from event order by id")
    assert [tuple(row) for row in kinds] == [
        ("suppressed", None),
        ("unsuppressed", "asked to come back"),
    ]


async def test_the_first_reason_stays(store: Store) -> None:
    await store.suppressions.add(1, ANN, detail="complained")
    await store.suppressions.add(1, ANN, detail="unsubscribed")
    assert [each.detail for each in await store.suppressions.list()] == ["complained"]


async def test_the_list_is_by_scope_and_age(store: Store) -> None:
    for account, address in ((1, ANN), (None, BOB), (2, ANN)):
        await store.suppressions.add(account, address, detail="unsubscribed")
    assert [each.account_id for each in await store.suppressions.list()] == [1, None, 2]
    assert [each.account_id for each in await store.suppressions.list(0)] == [None]


@pytest.mark.parametrize("text", ["with \x00 nul", "lone \ud800 surrogate", "\u2028 line"])
async def test_any_reason_can_be_stored(store: Store, text: str) -> None:
    await store.suppressions.apply([store.suppressions.act(1, ANN, detail=text, evidence=text, rule=text)])
    assert len(await store.suppressions.find(1, [ANN])) == 1
