"""That the driver knows our array types, and as the server does: it documents no way to tell it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import pytest

from mta.store.postgres.array_types import ARRAYS
from mta.store.store import Store

VALUES: dict[str, Any] = {
    "bool": True,
    "bytea": b"\0a",
    "int2": -1,
    "int4": 2**31 - 1,
    "int8": 2**40,
    "float8": 0.5,
    "date": date(2026, 12, 1),
    "timestamptz": datetime(2026, 12, 1, tzinfo=UTC),
    "interval": timedelta(hours=3),
    "uuid": UUID(int=7),
    "jsonb": '{"a": 1}',
}


async def test_they_are_those_of_the_catalog(store: Store) -> None:
    async with store._database.session() as connection:
        rows = await connection.fetch(
            "select typname, typarray::int, oid::int, typdelim::text from pg_type where typname = any($1::text[])",
            list(ARRAYS),
        )
    assert {row["typname"]: (row["typarray"], row["oid"]) for row in rows} == ARRAYS
    assert {row["typdelim"] for row in rows} == {","}


async def test_the_driver_does_not_ask_for_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its query would leave 2 MiB in the server's process of each connection."""

    async def asked(*_: object) -> NoReturn:
        raise AssertionError("the driver asks the server for types")

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", asked)
    async with store._database.session() as connection:
        for name, value in VALUES.items():
            assert await connection.fetchval(f"select $1::{name}[]", [value, None]) == [value, None]
