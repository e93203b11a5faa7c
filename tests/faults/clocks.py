"""The database's clock, set forward or back for one test: now() and clock_timestamp() of its own database.

All sessions find the functions of schema ``moved`` before PostgreSQL's; column defaults keep the real clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg

from mta.store.store import Store

_MOVED = """
create schema if not exists moved;
create or replace function moved.by() returns interval language sql immutable as $$ select interval '{seconds} s' $$;
create or replace function moved.now() returns timestamptz language sql stable
    as $$ select pg_catalog.now() + moved.by() $$;
create or replace function moved.clock_timestamp() returns timestamptz language sql volatile
    as $$ select pg_catalog.clock_timestamp() + moved.by() $$;
"""


async def set_clock(dsn: str, by: timedelta, *stores: Store) -> None:
    """Set the database's clock ``by`` so much off the real one, in every session of these stores from now on."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(_MOVED.format(seconds=by.total_seconds()))
        name = await connection.fetchval("select current_database()")
        await connection.execute(f"alter database {name} set search_path = moved, pg_catalog, public")
    finally:
        await connection.close()
    for store in stores:
        while store._database._pool._idle:
            store._database._pool._idle.pop()[1].terminate()


@asynccontextmanager
async def clock_set(store: Store, by: timedelta) -> AsyncIterator[None]:
    await set_clock(store._database._dsn, by, store)
    yield
    await set_clock(store._database._dsn, timedelta(), store)
