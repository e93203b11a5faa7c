"""Backoffs as operators see and end them."""

from __future__ import annotations

import asyncio

from mta.store.store import Store
from tests.unit.mta.store.make import execute


async def test_reported_backoffs_are_listed_by_site_until_they_end(store: Store) -> None:
    await store.backoffs.note(store.lease.id, "mta-1", "dead.example", 60.0, "451 4.4.1 refused")
    await store.backoffs.note(store.lease.id, "mta-1", "over.example", -1.0, "451 4.4.1 refused")
    await store.backoffs.note(store.lease.id + 1000, "mta-1", "other.example", 60.0, "of a worker that has ended")
    await store.backoffs.note(store.lease.id, "mta-1", "dead.example", 90.0, "451 4.4.1 no answer")
    (found,) = await store.backoffs.list()
    assert (found.site, found.workers, found.reply) == ("dead.example", 1, "451 4.4.1 no answer")


async def test_an_end_is_told_to_all_workers_and_counted(store: Store) -> None:
    told: asyncio.Queue[str | None] = asyncio.Queue()
    await store.listen("retry", told.put_nowait)
    assert await told.get() is None  # some may have been missed
    for site in ("a.example", "b.example", "c.example"):
        await store.backoffs.note(store.lease.id, "mta-1", site, 60.0, "451 4.4.1 refused")
    assert await store.backoffs.end({"a.example", "b.example", "not.example"}) == 2
    async with asyncio.timeout(20):
        assert {await told.get() for _ in range(3)} == {"a.example", "b.example", "not.example"}
    assert [each.site for each in await store.backoffs.list()] == ["c.example"]
    assert await store.backoffs.end(None) == 1
    async with asyncio.timeout(20):
        assert await told.get() == ""


async def test_a_site_whose_name_is_too_long_to_be_told_ends_all(store: Store) -> None:
    await store.backoffs.note(store.lease.id, "mta-1", "a.example", 60.0, "451 4.4.1 refused")
    assert await store.backoffs.end({"mx.example," * 1000}) == 1


async def test_what_has_ended_is_deleted_some_day(store: Store) -> None:
    await store.backoffs.note(store.lease.id, "mta-1", "old.example", -100.0, "451 4.4.1 refused")
    await store.backoffs.note(store.lease.id, "mta-1", "new.example", 60.0, "451 4.4.1 refused")
    await execute(store, "delete from backoff where until > now()")
    async with store._database.session() as connection:
        assert await connection.fetchval("select count(*) from backoff") == 0
