"""Limits that several stores share: exact under contention, over deaths, clocks and restarts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.postgres.errors import LeaseLost
from mta.store.postgres.secrets import Secrets
from mta.store.queue.limit_shares import LimitAnswer, LimitKey, LimitRequest
from mta.store.store import Store
from tests.conftest import opened
from tests.faults.clocks import clock_set
from tests.unit.mta.store.make import count, execute, until

CONNECTIONS = LimitKey("path:s0:example.net")
MINUTE = LimitKey("path:s0:example.net", 60)


async def ask(store: Store, key: LimitKey, total: int, wanted: int, free: int = 0, used: int = 0) -> LimitAnswer:
    cooling = ((float(key.seconds), used),) if used else ()
    answers = await store.egress_limits.exchange([LimitRequest(key, total, wanted, free, cooling)])
    return answers[key]


async def test_two_stores_never_hold_more_than_the_total(store: Store, other: Store) -> None:
    assert (await ask(store, CONNECTIONS, 4, 3)).held == 3
    assert (await ask(other, CONNECTIONS, 4, 3)).held == 1
    (shown,) = await store.egress_limits.list("path:s0:")
    assert (shown.key, shown.total, shown.cooling) == (CONNECTIONS, 4, 0)
    assert shown.held == {store.lease.id: 3, other.lease.id: 1}
    assert await store.egress_limits.list("path:s1:") == []


async def test_what_nobody_holds_leaves_no_row(store: Store) -> None:
    await ask(store, CONNECTIONS, 4, 3)
    await ask(store, CONNECTIONS, 4, 0, free=3)
    assert await count(store, "egress_limit") == 0


async def test_many_limits_in_one_exchange(store: Store, other: Store) -> None:
    keys = [LimitKey(f"path:s0:{n}.example", seconds) for n in range(400) for seconds in (0, 60)]
    for each in (store, other):
        answers = await each.egress_limits.exchange([LimitRequest(key, 5, 3) for key in keys])
        assert set(answers) == set(keys)
    assert [answers[key].held for key in keys] == [2] * 800


async def test_those_concerned_are_called_and_no_others(store: Store, other: Store) -> None:
    called: dict[str, list[LimitKey | None]] = {"store": [], "other": []}
    await store.egress_limits.listen(called["store"].append)
    await other.egress_limits.listen(called["other"].append)
    await until(lambda: called["store"] == [None] and called["other"] == [None])  # they listen now
    await ask(store, MINUTE, 4, 4)
    await ask(other, MINUTE, 4, 4)
    await until(lambda: called["store"] == [None, MINUTE])
    await ask(store, MINUTE, 4, 4, free=2)
    await until(lambda: called["other"] == [None, MINUTE])
    assert (await ask(other, MINUTE, 4, 4)).held == 2
    assert called == {"store": [None, MINUTE], "other": [None, MINUTE]}


async def test_shares_return_when_their_lease_ends(store: Store, other: Store) -> None:
    await ask(other, CONNECTIONS, 4, 4)
    await ask(other, MINUTE, 4, 4)
    assert (await ask(store, CONNECTIONS, 4, 4)).held == 0
    await execute(store, "delete from worker where id = $1", other.lease.id)
    assert (await ask(store, CONNECTIONS, 4, 4)).held == 4
    assert (await ask(store, MINUTE, 4, 4)).held == 0, "they may have been used until just now"
    with pytest.raises(LeaseLost):
        await ask(other, CONNECTIONS, 4, 4)
    await other.lease.register()
    assert (await ask(other, CONNECTIONS, 4, 4)).held == 0


async def test_used_starts_are_known_after_a_restart(
    store: Store, database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> None:
    day = LimitKey("path:s0:example.net", 86400)
    async with opened(database_url, database_settings, secrets) as before:
        await ask(before, day, 100, 60)
        await ask(before, day, 100, 0, free=10, used=50)
        await before.lease.release()
    answer = await ask(store, day, 100, 100)
    assert answer.held == 50
    assert 86400 <= answer.wait <= 86400 * 1.03


async def test_a_clock_that_is_set_frees_nothing(store: Store) -> None:
    await ask(store, MINUTE, 4, 4)
    assert (await ask(store, MINUTE, 4, 4, used=4)).held == 0
    for step in (timedelta(hours=2), timedelta(hours=-2), timedelta(minutes=5)):
        async with clock_set(store, step):
            answer = await ask(store, MINUTE, 4, 4)
            assert answer.held == 0
            assert 55 < answer.wait <= 62


async def test_unused_limits_of_the_dead_are_swept(store: Store, other: Store) -> None:
    await ask(other, CONNECTIONS, 4, 4)
    await ask(store, MINUTE, 4, 4)
    await execute(store, "update egress_limit set used_at = now() - interval '3 days'")
    await execute(store, "delete from worker where id = $1", other.lease.id)
    await store.messages.sweep(3600)
    assert [shown.key for shown in await store.egress_limits.list()] == [MINUTE]


async def test_eight_workers_in_each_others_way(
    database_url: str, database_settings: DatabaseSettings, secrets: Secrets, store: Store
) -> None:
    """Each takes and returns at random, some end without a word; what they know that they hold never exceeds it."""
    chance, held = random.Random(3), Counter[int]()
    total = 5

    async def worker(number: int) -> None:
        async with opened(database_url, database_settings, secrets) as own:
            for _ in range(25):
                free = chance.randint(0, held[number])
                held[number] -= free
                answer = await ask(own, CONNECTIONS, total, chance.randint(0, 4), free)
                held[number] = answer.held
                assert held.total() <= total
                await asyncio.sleep(0)
            held[number] = 0
            await execute(own, "delete from worker where id = $1", own.lease.id)

    await asyncio.gather(*(worker(number) for number in range(8)))
    assert (await ask(store, CONNECTIONS, total, total)).held == total
