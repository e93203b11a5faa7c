"""Migrations: each file once, in order, by one program at a time; never on a newer schema."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest

from mta.store.postgres.errors import SchemaError, StoreUnavailable
from mta.store.postgres.migrate import check, migrate, migrations
from tests.conftest import database_dsn


@pytest.fixture
async def empty_url(postgres_server: str) -> str:
    connection = await asyncpg.connect(postgres_server)
    try:
        name = f"empty{os.getpid()}"
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name}")
    finally:
        await connection.close()
    return database_dsn(postgres_server, name)


def write(folder: Path, **files: str) -> Path:
    for name, sql in files.items():
        (folder / f"{name[1:]}.sql").write_text(sql)
    migrations.cache_clear()
    return folder


class TestMigrate:
    async def test_applies_what_is_missing_and_nothing_twice(self, empty_url: str, tmp_path: Path) -> None:
        write(tmp_path, _0001_first="create table one (a int)")
        assert await migrate(empty_url, tmp_path) == ["0001_first.sql"]
        write(tmp_path, _0002_second="alter table one add b int")
        assert await migrate(empty_url, tmp_path) == ["0002_second.sql"]
        assert await migrate(empty_url, tmp_path) == []

    async def test_several_programs_starting_at_once_apply_each_file_once(self, empty_url: str) -> None:
        applied = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
        assert sorted(applied) == [[], [], [], [each.name for each in migrations()]]

    async def test_refuses_a_schema_newer_than_the_program(self, empty_url: str, tmp_path: Path) -> None:
        await migrate(empty_url, write(tmp_path, _0001_first="select 1", _0002_second="select 1"))
        (tmp_path / "0002_second.sql").unlink()
        migrations.cache_clear()
        with pytest.raises(SchemaError, match="database schema 2 is newer than this program's 1: upgrade the program"):
            await migrate(empty_url, tmp_path)

    async def test_refuses_a_file_that_changed_after_it_was_applied(self, empty_url: str, tmp_path: Path) -> None:
        await migrate(empty_url, write(tmp_path, _0001_first="select 1"))
        with pytest.raises(SchemaError, match=r"0001_first\.sql was changed"):
            await migrate(empty_url, write(tmp_path, _0001_first="select 2"))

    async def test_a_file_that_fails_leaves_nothing_behind(self, empty_url: str, tmp_path: Path) -> None:
        write(tmp_path, _0001_first="create table one (a int); create tabel two (a int)")
        with pytest.raises(SchemaError, match=r"0001_first\.sql"):
            await migrate(empty_url, tmp_path)
        assert await migrate(empty_url, write(tmp_path, _0001_first="create table one (a int)")) == ["0001_first.sql"]

    async def test_a_running_program_notices_that_the_schema_went_on(self, empty_url: str) -> None:
        await migrate(empty_url)
        connection = await asyncpg.connect(empty_url)
        await check(connection)
        await connection.execute("insert into schema_migration values (9999, 'later', '', 9999)")
        with pytest.raises(SchemaError, match="database schema 9999 is newer"):
            await check(connection)
        await connection.close()


def test_numbers_must_run_without_a_gap(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="are numbered"):
        migrations(write(tmp_path, _0001_first="", _0003_third=""))


async def test_no_server_is_a_store_that_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await migrate(f"postgresql://nobody@/none?host={tmp_path}")
