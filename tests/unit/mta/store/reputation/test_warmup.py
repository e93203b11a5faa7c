"""Warm-up is counted exactly over all workers, whatever they do with what they have borrowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from config.schema import DatabaseSettings
from mta.delivery.egress.warmup import WarmupPlan
from mta.mail.address import Address
from mta.mail.warmup import WarmupDay, WarmupLoan
from mta.store.postgres.secrets import Secrets
from mta.store.reputation import warmup
from mta.store.store import Store


class AllDay(WarmupPlan):
    """A plan that releases a day's volume at once, so that the hour at which a test runs does not matter."""

    def loan(self, day: WarmupDay, wanted: int, now: datetime) -> WarmupLoan:
        evening = now.replace(hour=23, minute=59, second=0)
        return super().loan(day, wanted, evening)


PLAN = AllDay("new", "gmail", "own", (100, 200))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "EXCHANGE_EVERY", 0.01)


@pytest.fixture
async def others(database_url: str, secrets: Secrets) -> AsyncIterator[list[Store]]:
    stores = [await Store.open(database_url, DatabaseSettings(), secrets) for _ in range(2)]
    yield stores
    for each in stores:
        await each.close()


async def drain(store: Store, plan: WarmupPlan, *, most: int = 10**6) -> int:
    """Take one after the other until there is no more; how many."""
    taken, days = 0, store.warmup_days
    while taken < most:
        if not days.knows(plan):
            await days.ask([plan], 1)
        if days.take(plan, 1, engaged=True):
            taken += 1
        elif days.wait(plan, 1, engaged=True) > 30:
            break
        else:
            await asyncio.sleep(0.005)
    return taken


async def used(store: Store) -> int:
    (day,) = await store.warmup_days.latest()
    return day.used


async def test_three_workers_send_what_is_planned_and_not_one_more(store: Store, others: list[Store]) -> None:
    counts = await asyncio.gather(*(drain(each, PLAN) for each in (store, *others)))
    assert sum(counts) == 100
    assert await used(store) == 100


async def test_what_is_not_used_goes_back_and_what_dies_counts_as_used(
    store: Store, database_url: str, secrets: Secrets
) -> None:
    other = await Store.open(database_url, DatabaseSettings(), secrets)
    assert await drain(other, PLAN, most=3) == 3
    assert await used(store) > 3
    await other.close()
    assert await used(store) == 3
    day = store.warmup_days.take(PLAN, 1, engaged=True)
    assert day is None
    assert await drain(store, PLAN, most=1) == 1
    store.warmup_days.give_back(PLAN, 1, datetime.now(UTC).date())
    assert await drain(store, PLAN) == 97


async def test_bad_answers_pause_the_day_in_every_worker_until_an_operator_resumes(
    store: Store, others: list[Store]
) -> None:
    assert await drain(store, PLAN, most=8) == 8
    store.warmup_days.count(PLAN, good=2, bad=5)

    async def paused() -> str:
        return (await store.warmup_days.latest())[0].paused

    for _ in range(200):
        if await paused():
            break
        await asyncio.sleep(0.01)
    assert await paused() == "5 of 7 answers were against us as a sender"
    assert await drain(others[0], PLAN) == 0
    assert await store.warmup_days.resume("new", "gmail", by="ann", reason="the list was wrong")
    assert not await store.warmup_days.resume("new", "gmail", by="ann", reason="again")
    assert await drain(others[1], PLAN, most=5) == 5
    async with store.events._database.session() as connection:
        kinds = [row["kind"] for row in await connection.fetch("select kind from event order by id")]
    assert kinds == ["warmup_paused", "warmup_resumed"]


async def test_the_next_day_is_that_of_the_plan(store: Store, others: list[Store]) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    async with store.events._database.session() as connection:
        await connection.execute(
            "insert into warmup_day (source, provider, day, step, used) values ('new', 'gmail', $1, 0, 50)", yesterday
        )
    assert await drain(store, PLAN, most=120) == 120
    (day,) = await store.warmup_days.latest()
    assert day.step == 1
    await store.warmup_days.set_step("new", "gmail", 0, by="ann", reason="too fast")
    assert await drain(others[0], PLAN) == 0


async def test_interest_is_a_click_a_purchase_or_mail_that_arrived_lately(store: Store, secrets: Secrets) -> None:
    ann, bob, eve, old = (Address.parse(f"{name}@example.com") for name in ("ann", "bob", "eve", "old"))
    async with store.events._database.session() as connection:
        await connection.executemany(
            "insert into recipient_activity (address_key, account_id, contacted_at, clicked_at) values ($1, 7, $2, $3)",
            [
                (secrets.address_key(ann), datetime.now(UTC) - timedelta(days=20), None),
                (secrets.address_key(bob), None, datetime.now(UTC) - timedelta(days=80)),
                (secrets.address_key(old), datetime.now(UTC) - timedelta(days=40), None),
            ],
        )
    found = await store.recipient_activity.engaged([(7, ann), (7, bob), (7, eve), (7, old), (8, ann)])
    assert found == {(7, ann), (7, bob)}
