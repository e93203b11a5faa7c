"""The ring of new content: slots are emptied as a whole, and nothing that is still needed is lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from mta.mail.identity import MessageId
from mta.store.queue import content_ring
from mta.store.queue.content_ring import FULL, OLD, SLOTS, VERY_OLD, RingState
from mta.store.store import Store
from tests.unit.mta.store import make


@pytest.mark.parametrize(
    ("octets", "age", "over"), [((FULL, 0), 0, True), ((FULL - 1, 0), OLD - 1, False), ((1, 0), OLD, True),
                                ((0, 0), OLD, False)]
)  # fmt: skip
def test_a_slot_is_over_when_it_is_full_or_old(octets: tuple[int, ...], age: float, over: bool) -> None:
    assert RingState(1, age, octets).is_over() == over


def test_the_oldest_slot_comes_first() -> None:
    assert RingState(3, 0, (1, 1, 1, 0, 1, 1)).others() == [5, 6, 1, 2]
    assert RingState(6, 0, (0, 0, 0, 0, 0, 1)).others() == []
    assert RingState(6, 0, (0, 0, 0, 0, 0, 1)).next() == 1


@pytest.mark.parametrize(
    ("octets", "age", "oldest"), [((5, FULL, 5), 0, 3), ((5, FULL, 0), 0, None), ((5, FULL - 1, 5), VERY_OLD - 1, None),
                                  ((5, 1, 5), VERY_OLD, 3), ((5, 0, 0), VERY_OLD, 1), ((0, 1, 0), VERY_OLD, None)]
)  # fmt: skip
def test_a_full_slot_or_a_very_old_one_drives_the_oldest_out(
    octets: tuple[int, ...], age: float, oldest: int | None
) -> None:
    assert RingState(2, age, octets).must_go() == oldest


async def octets(store: Store) -> Sequence[int]:
    row = await make.row(store, content_ring._STATE.replace("$1", "6").replace("$2", "1"))
    return list(row["octets"])


async def test_what_was_sent_leaves_with_its_slot(store: Store) -> None:
    for _ in range(5):
        await make.write(store, make.result(await make.put(store, size=20_000)))
    assert sum(await octets(store)) > 0
    assert await make.contents(store) == set()
    assert sum(await octets(store)) == 0


async def test_what_is_needed_moves_and_is_found_as_it_was(store: Store) -> None:
    waiting = make.accepted(size=30_000)
    await store.messages.enqueue(waiting, leased=False)
    sent = await make.put(store)
    await make.write(store, make.result(sent))
    assert await make.contents(store) == {waiting.message.id}
    assert sum(await octets(store)) == 0
    assert await store.messages.content(waiting.message.id) == waiting.message.content
    (delivery,) = await store.messages.claim(deliveries=1, octets=10**6)
    await make.write(store, make.result(delivery))
    assert await make.count(store, "content_kept") == 0


async def test_a_slot_that_many_need_stays_until_its_turn_comes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_ring, "FEW", 2)
    waiting = {(await make.put(store)).message_id for _ in range(4)}
    await make.turn_ring(store)
    assert await make.count(store, "content_1") == 4
    monkeypatch.setattr(content_ring, "FULL", 1)
    for _ in range(SLOTS):
        await make.put(store)
        await make.turn_ring(store, turns=1)
    await make.turn_ring(store, turns=1)  # slot 6 is full, and 1 the next
    assert waiting <= await messages_in(store, "content_kept")


async def messages_in(store: Store, table: str) -> set[MessageId]:
    async with store._database.session() as connection:
        return {row["message_id"] for row in await connection.fetch(f"select message_id from {table}")}


async def test_what_was_sent_leaves_though_many_others_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_ring, "FEW", 2)
    sent, *waiting = [await make.put(store) for _ in range(5)]
    await make.write(store, make.result(sent))
    await make.turn_ring(store)
    assert sent.message_id in await messages_in(store, "content_1")
    await make.turn_ring(store, turns=1, age=VERY_OLD)
    assert sum(await octets(store)) == 0
    assert await messages_in(store, "content") == {each.message_id for each in waiting}


async def test_no_content_stays_for_good(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_ring, "FEW", 0)
    sent = await make.put(store)
    waiting = [await make.put(store)]
    await make.write(store, make.result(sent))
    for _ in range(SLOTS - 1):  # each slot has something that is needed
        await make.turn_ring(store, turns=1)
        waiting.append(await make.put(store))
    assert all(await octets(store))
    await make.turn_ring(store, turns=10)
    assert sent.message_id in await messages_in(store, "content")
    await make.turn_ring(store, turns=1, age=VERY_OLD)
    assert await messages_in(store, "content") == {each.message_id for each in waiting}
    await make.turn_ring(store, turns=2 * SLOTS, age=VERY_OLD)
    assert sum(await octets(store)) == 0
    assert await messages_in(store, "content_kept") == {each.message_id for each in waiting}


async def test_a_reader_or_a_writer_makes_it_wait_for_its_next_turn(store: Store, database_url: str) -> None:
    await make.write(store, make.result(await make.put(store)))
    await make.turn_ring(store, turns=1)
    for statement in ("select count(*) from content_1", "insert into content values (1, gen_random_uuid(), 0, '')"):
        other = await asyncpg.connect(database_url)
        await other.execute(f"begin; {statement}")
        await make.turn_ring(store, turns=2)
        assert await make.count(store, "content_1") > 0
        await other.execute("rollback")
        await other.close()
    await make.turn_ring(store, turns=2)
    assert (await octets(store))[0] == 0


async def test_a_message_that_ends_while_its_content_moves_leaves_nothing(store: Store) -> None:
    delivery = await make.put(store)
    await make.turn_ring(store, turns=1)
    await make.turn_ring(store, turns=1)
    assert await make.count(store, "content_kept") == 1
    await make.execute(store, "delete from queue where message_id = $1", delivery.message_id)  # whose outcome saw none
    await make.turn_ring(store, turns=1)
    assert await make.count(store, "content_kept") == 0


async def test_readers_find_all_while_slots_are_emptied(store: Store) -> None:
    waiting = [make.accepted(size=9000) for _ in range(30)]
    for each in waiting:
        await store.messages.enqueue(each, leased=False)

    async def read() -> None:
        for each in waiting:
            assert await store.messages.content(each.message.id) == each.message.content

    await asyncio.gather(make.turn_ring(store, turns=8), read(), read(), read())
    await read()
    assert sum(await octets(store)) == 0
