"""Quotas and rates over several workers: never over the limit, nothing lost but with its worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.accounts import quotas
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.quotas import Quota
from tests.unit.mta.store.make import count, execute, until

TODAY = datetime(2026, 5, 4, tzinfo=UTC)


@pytest.fixture
async def stores(
    database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> AsyncIterator[list[Store]]:
    """Two workers on one database."""
    pair = [await Store.open(database_url, database_settings, secrets) for _ in range(2)]
    yield pair
    for store in pair:
        await store.close()


def day(limit: int, scope: str = "account:7:day", since: datetime = TODAY) -> Quota:
    return Quota(scope, since, limit)


async def taken(store: Store, scope: str = "account:7:day") -> int:
    """How many the database counts as lent."""
    async with store._database.session() as connection:
        number: int = await connection.fetchval("select sum(used)::bigint from quota_usage where scope = $1", scope)
        return number


async def test_no_quota_no_limit(store: Store) -> None:
    assert await store.quotas.take((), 5) is None
    assert await count(store, "quota_usage") == 0


async def test_the_limit_is_reached_and_not_passed(store: Store) -> None:
    accepted = [await store.quotas.take([day(100)], 3) for _ in range(40)]
    assert sum(left is not None and left >= 3 for left in accepted) == 33
    assert accepted[0] == 100
    assert accepted[-1] == 1
    assert await store.quotas.take([day(100)], 1) == 1
    assert await store.quotas.take([day(100)], 1) == 0


async def test_two_workers_together_never_pass_it(stores: list[Store]) -> None:
    """Hundreds of sessions of both at once; in the end exactly the quota was given, once idle blocks are back."""
    given = 0

    async def session(store: Store) -> None:
        nonlocal given
        for _ in range(10):
            number = random.randint(1, 4)
            left = await store.quotas.take([day(1000)], number)
            assert left is not None
            if left >= number:
                given += number
                if random.random() < 0.2:  # refused by another rule
                    store.quotas.give_back([day(1000)], number)
                    given -= number

    await asyncio.gather(*(session(stores[n % 2]) for n in range(200)))
    assert given <= 1000
    assert await taken(stores[0]) <= 1000
    for store in stores:
        store.quotas._collect(idle=0.0)
        await store.quotas._bring_back()
    assert await taken(stores[0]) == given
    while (await stores[0].quotas.take([day(1000)], 1) or 0) >= 1:
        given += 1
    assert given == 1000


async def test_a_question_to_the_database_is_rare(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    lend = quotas._lend

    async def counting(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return await lend(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(quotas, "_lend", counting)
    for _ in range(1000):
        await store.quotas.take([day(100_000)], 1)
    assert asked == 1


async def test_of_two_quotas_both_must_allow_it(store: Store) -> None:
    month = day(50, "account:7:month")
    assert await store.quotas.take([day(100), month], 40) == 50
    assert await store.quotas.take([day(100), month], 20) == 10
    assert await store.quotas.take([day(100)], 60) == 60  # nothing was taken of the day for it


async def test_a_new_window_begins_anew_and_old_ones_are_forgotten(store: Store) -> None:
    old = day(10, since=TODAY - timedelta(days=365 * 10))
    assert await store.quotas.take([old], 10) == 10
    assert await store.quotas.take([old], 1) == 0
    assert await store.quotas.take([day(10)], 10) == 10
    assert await count(store, "quota_usage where scope = 'account:7:day'") == 1


async def test_a_lowered_limit_counts_at_once(store: Store) -> None:
    assert await store.quotas.take([day(1000)], 1) == 1000  # and a block of 62 is here
    assert await store.quotas.take([day(10)], 5) == 9
    assert await store.quotas.take([day(10)], 5) == 4


async def test_what_is_idle_is_brought_back_by_itself(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "IDLE", 0.02)
    assert await stores[0].quotas.take([day(1000)], 1) == 1000
    async with asyncio.timeout(10):
        while await taken(stores[1]) != 1:
            pass
    await until(lambda: stores[0].quotas._keeping is None or stores[0].quotas._keeping.done())


async def test_an_orderly_end_brings_everything_back_a_crash_loses_a_block(
    stores: list[Store], database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> None:
    third = await Store.open(database_url, database_settings, secrets)
    assert await third.quotas.take([day(1000)], 1) == 1000
    assert await taken(stores[0]) == 62
    await third.close()
    assert await taken(stores[0]) == 1
    assert await stores[0].quotas.take([day(1000)], 1) == 999
    await stores[0]._database.close()  # died
    assert await taken(stores[1]) == 1 + 62
    assert await stores[1].quotas.take([day(1000)], 1) == 1000 - 63


async def test_without_the_database_nothing_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    retried = store._database.retried
    monkeypatch.setattr(store._database, "retried", away)
    with pytest.raises(StoreUnavailable):
        await store.quotas.take([day(10)], 1)
    monkeypatch.setattr(store._database, "retried", retried)
    assert await store.quotas.take([day(10)], 10) == 10


async def test_what_may_have_been_brought_back_is_not_brought_back_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.quotas.take([day(1000)], 1)
    store.quotas._collect(idle=0.0)
    retried = store._database.retried

    async def committed_and_lost(*arguments: object, **more: object) -> None:
        await retried(*arguments, **more)  # type: ignore[arg-type]
        raise OutcomeUnknown("the connection was lost", 0)

    monkeypatch.setattr(store._database, "retried", committed_and_lost)
    with pytest.raises(StoreUnavailable):
        await store.quotas._bring_back()
    monkeypatch.setattr(store._database, "retried", retried)
    await store.quotas._bring_back()
    assert await taken(store) == 1


# --- rates


async def gone_through(store: Store, number: int, rate: float, burst: int) -> int:
    """How many of ``number`` messages at once may be submitted."""
    passed = 0
    for _ in range(number):
        passed += store.quotas.rate("shop-1", rate, burst) == 0.0
        await asyncio.sleep(0)
    return passed


async def settle(store: Store) -> None:
    """Let what is being borrowed come."""
    await until(lambda: all(bucket.asking is None for bucket in store.quotas._buckets.values()))


async def test_a_burst_goes_through_and_then_it_waits(store: Store) -> None:
    passed = 0
    for _ in range(100):
        passed += await gone_through(store, 20, 0.001, 200)
        await settle(store)
    assert 200 <= passed <= 200 + quotas.CREDIT
    assert store.quotas.rate("shop-1", 0.001, 200) > 100
    assert store.quotas.rate("shop-2", 0.001, 200) == 0.0


async def test_the_burst_is_one_for_all_workers(stores: list[Store]) -> None:
    passed = 0
    for _ in range(100):
        for store in stores:
            passed += await gone_through(store, 10, 0.001, 300)
            await settle(store)
    assert 300 <= passed <= 300 + 2 * quotas.CREDIT


async def test_credit_is_paid_for(store: Store) -> None:
    """What was given before the database had answered counts."""
    assert await gone_through(store, 5, 0.001, 100) == 5
    await settle(store)
    store.quotas._collect(idle=0.0)
    await store.quotas._bring_back()
    passed = 0
    for _ in range(50):
        passed += await gone_through(store, 10, 0.001, 100)
        await settle(store)
    assert 95 <= passed <= 95 + quotas.CREDIT


async def test_a_client_is_slowed_down_before_it_is_turned_away(store: Store) -> None:
    waits = [await store.quotas.admit("shop-1", 200, 20) for _ in range(60)]
    assert waits == [0.0] * 60
    waits = [await store.quotas.admit("shop-2", 0.001, 5) for _ in range(30)]
    assert waits[0] == 0.0
    assert waits[-1] > 100


async def test_without_the_database_only_the_credit_is_given(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store._database, "retried", away)
    assert 0 < await gone_through(store, 100, 100, 1000) <= quotas.CREDIT
    monkeypatch.undo()


async def test_a_question_of_many_credentials_is_one(store: Store) -> None:
    await execute(store, "select 1")
    for n in range(50):
        assert store.quotas.rate(f"shop-{n}", 10, 100) == 0.0
    await settle(store)
    assert await count(store, "quota_usage") == 50
