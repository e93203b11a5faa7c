"""The pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from mta.store.postgres import connection_pool
from mta.store.postgres.connection_pool import Connection, ConnectionPool
from mta.store.store import Store

PATIENT = 60.0  # seconds: no other connection is opened in a test


@pytest.fixture
async def pool(store: Store) -> AsyncIterator[ConnectionPool]:
    """A pool of at most three."""
    pool = ConnectionPool(3, lambda: asyncpg.connect(store._database._dsn))
    yield pool
    while connection := pool.pop():
        connection.terminate()


async def use(pool: ConnectionPool) -> Connection:
    connection = await pool.take()
    await connection.fetchval("select 1")
    pool.give_back(connection)
    return connection


async def take_each(pool: ConnectionPool, count: int) -> list[Connection]:
    return [await pool.take() for _ in range(count)]


async def test_quick_callers_share_few_connections(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", PATIENT)
    used = await asyncio.gather(*(use(pool) for _ in range(20)))
    assert len(set(used)) == 1


async def test_another_is_opened_while_one_is_in_use_for_long(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", 0.001)
    held = await take_each(pool, 3)
    assert len(set(held)) == 3
    fourth = asyncio.create_task(pool.take())
    assert not (await asyncio.wait([fourth], timeout=0.05))[0]  # there are no more than three
    pool.give_back(held[1])
    assert await fourth is held[1]
    for connection in held:
        pool.give_back(connection)


async def test_callers_are_served_in_order(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", PATIENT)
    first = await pool.take()
    order: list[int] = []

    async def call(number: int) -> None:
        connection = await pool.take()
        order.append(number)
        pool.give_back(connection)

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await asyncio.sleep(0)
    pool.give_back(first)
    await asyncio.gather(*calls)
    assert order == [0, 1, 2, 3, 4]


async def test_a_caller_that_gives_up_leaves_the_connection_to_the_next(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", PATIENT)
    first = await pool.take()
    gives_up, stays = (asyncio.create_task(pool.take()) for _ in range(2))
    await asyncio.sleep(0)
    pool.give_back(first)
    gives_up.cancel()  # it has the connection by now, and does not know yet
    assert await stays is first
    pool.give_back(first)
    assert pool._free._value == 3


async def test_a_connection_that_is_dropped_is_replaced(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", 0.001)
    first = await pool.take()
    waiting = asyncio.create_task(pool.take())
    pool.drop(first)
    second = await waiting
    assert first.is_closed()
    assert not second.is_closed()
    pool.give_back(second)


async def test_no_place_is_lost_when_none_can_be_opened() -> None:
    async def refused() -> Connection:
        raise OSError

    pool = ConnectionPool(2, refused)
    for _ in range(5):
        with pytest.raises(OSError):
            await pool.take()


async def test_connections_that_are_not_used_are_closed(pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_pool, "GROW_AFTER", 0.001)
    many = await take_each(pool, 3)
    for connection in many:
        pool.give_back(connection)
    monkeypatch.setattr(connection_pool, "UNUSED", -1.0)
    for _ in many:
        pool.give_back(await pool.take())
    assert sum(each.is_closed() for each in many) >= 2


async def test_what_is_idle_is_taken_at_once_and_counts_as_taken(pool: ConnectionPool) -> None:
    assert await pool.take_idle() is None
    first = await pool.take()
    assert await pool.take_idle() is None
    pool.give_back(first)
    assert await pool.take_idle() is first
    assert (pool._free._value, pool._held) == (2, 1)
    pool.give_back(first)
    first.terminate()
    assert await pool.take_idle() is None
    assert (pool._free._value, pool._held) == (3, 0)
