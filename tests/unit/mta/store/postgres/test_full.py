"""A database whose disk is full: the statement failed, nothing changed, and it works again by itself."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from mta.store.postgres import database
from mta.store.postgres.errors import OutcomeUnknown, StoreFull
from mta.store.store import Store
from tests.unit.mta.store.make import accepted, count, execute

FULL = 'could not extend file "base/5/16400": No space left on device'
QUOTA = 'could not extend file "base/5/16400": Disk quota exceeded'


async def fill(store: Store, words: str, code: str) -> None:
    """From now on the database has no room for messages."""
    await execute(
        store,
        f"create or replace function no_room() returns trigger language plpgsql as $$ begin"
        f" raise exception '{words}' using errcode = '{code}'; end $$",
    )
    await execute(store, "create trigger no_room before insert on message for each row execute function no_room()")


async def empty(store: Store) -> None:
    await execute(store, "drop trigger no_room on message")


@pytest.mark.parametrize(("words", "code"), [(FULL, "53100"), (FULL, "58030"), (QUOTA, "XX000")])
async def test_full_and_with_room_again(store: Store, words: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(store, words, code)
    assert not store.is_full
    with capture_logs() as lines:
        answers = await asyncio.gather(
            *(store.messages.enqueue(accepted("ann@example.net"), leased=False) for _ in range(5)),
            return_exceptions=True,
        )
    assert all(isinstance(answer, StoreFull) for answer in answers), answers
    assert not any(isinstance(answer, OutcomeUnknown) for answer in answers)
    assert [(line["event"], line["reason"]) for line in lines] == [("the database's disk is full", words)]
    assert store.is_full
    await empty(store)
    await store.messages.enqueue(accepted("ben@example.net"), leased=False)
    assert await count(store, "message") == 1
    monkeypatch.setattr(database, "FULL_LASTS", 0.0)
    assert not store.is_full


async def test_a_write_that_leaves_no_trace_is_committed(store: Store) -> None:
    async def log_position() -> int:
        async with store._database.session() as connection:
            return int(await connection.fetchval("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))

    before = await log_position()
    await store.check_write()
    assert await log_position() > before
