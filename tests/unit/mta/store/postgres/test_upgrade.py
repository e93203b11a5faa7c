"""A filled database is upgraded to the next schema while programs of this one go on working with it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from mta.store.postgres import migrate as module
from mta.store.postgres.errors import SchemaError
from mta.store.postgres.migrate import FOLDER, check, migrate, migrations
from mta.store.store import Store
from tests.unit.mta.store import make
from tests.unit.mta.store.postgres.released import noted, present

KNOWN = migrations()[-1].version
FILLED = 2000  # messages before the upgrade
ADDED = f"-- compatible: {KNOWN}\n"


@pytest.fixture
def later(tmp_path: Path) -> Iterator[Path]:
    """The schema folder of a later program: this one's, and what a test adds by ``add``."""
    folder = tmp_path / "schema"
    shutil.copytree(FOLDER, folder)
    yield folder
    migrations.cache_clear()


def add(folder: Path, sql: str) -> str:
    name = f"{len(list(folder.glob('*.sql'))) + 1:04}_later.sql"
    (folder / name).write_text(sql)
    migrations.cache_clear()
    return name


async def fill(store: Store, count: int) -> None:
    await make.execute(
        store,
        """
        with made as (
            insert into message (id, account_id, sender, size, recipients, received_at, record)
            select gen_random_uuid(), 1, 'shop@acme.example', 1000, 1, now(),
                   jsonb_build_object('envelope', jsonb_build_object('body', '7BIT', 'priority', 0),
                       'certified', false, 'mark', null)
            from generate_series(1, $1) returning id
        )
        insert into queue
            (message_id, recipient_index, account_id, destination, address, address_key, due_at, expires_at)
        select id, 0, 1, 'b.example', 'bob@b.example', '\\x00', now() + interval '1 day', now() + interval '5 days'
        from made
        """,
        count,
    )


async def test_a_filled_database_under_load(store: Store, other: Store, later: Path) -> None:
    """Two programs upgrade at once while two workers take mail and record deliveries."""
    await fill(store, FILLED)
    names = [
        add(later, f"{ADDED}alter table message add later int not null default 7;\ncreate table later (n int);"),
        add(
            later,
            f"{ADDED}-- transaction: none\ncreate index concurrently if not exists message_later on message (later);",
        ),
        add(later, f"{ADDED}update message set later = 8 where later = 7;"),
    ]
    upgraded = asyncio.Event()
    worked = [0, 0]

    async def work(number: int, worker: Store) -> None:
        while not upgraded.is_set() or worked[number] < 20:
            delivery = await make.put(worker, "ann@a.example")
            await make.write(worker, make.result(delivery))
            worked[number] += 1

    workers = [asyncio.create_task(work(number, worker)) for number, worker in enumerate((store, other))]
    await make.until(lambda: all(worked))
    applied = await asyncio.gather(*(migrate(store._database._dsn, later) for _ in range(2)))
    during = sum(worked)
    upgraded.set()
    await asyncio.gather(*workers)
    assert sorted(applied) == [[], names]
    assert sum(worked) >= during + 1
    old, new = await make.row(store, "select count(*) filter (where later = 8), count(*) from message")
    assert old >= FILLED
    assert new == old + await make.count(store, "message where later = 7")
    assert await make.count(store, "queue") == FILLED  # what was queued is queued, what was delivered is gone
    assert (await make.row(store, "select indisvalid from pg_index where indexrelid = 'message_later'::regclass"))[0]
    assert await migrate(store._database._dsn, later) == []


async def test_programs_of_this_version_go_on_if_the_file_says_so(store: Store, later: Path) -> None:
    add(later, f"{ADDED}create table later (n int);")
    await migrate(store._database._dsn, later)
    connection = await asyncpg.connect(store._database._dsn)
    await check(connection)
    assert await migrate(store._database._dsn) == []  # it may be started again, too
    add(later, "drop table later;")
    await migrate(store._database._dsn, later)
    with pytest.raises(SchemaError, match="is newer than this program's"):
        await check(connection)
    with pytest.raises(SchemaError, match="is newer than this program's"):
        await migrate(store._database._dsn)
    await connection.close()


async def test_mail_is_taken_while_a_file_waits_for_a_long_transaction(store: Store, later: Path) -> None:
    add(later, f"{ADDED}alter table message add later int;")
    reader = await asyncpg.connect(store._database._dsn)
    await reader.execute("begin; select count(*) from message")
    upgrading = asyncio.create_task(migrate(store._database._dsn, later))
    for _ in range(3):
        while not await _waits(reader):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.01)
        await make.put(store, "ann@a.example")  # not held up by the waiting file for longer than one of its tries
    assert not upgrading.done()
    await reader.execute("commit")
    assert len(await upgrading) == 1
    await reader.close()


async def test_a_table_that_stays_locked_ends_the_upgrade_with_advice(
    store: Store, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = add(later, "alter table message add later int;")
    monkeypatch.setattr(module, "_LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(module, "_LOCK_TIMEOUT", "50ms")
    reader = await asyncpg.connect(store._database._dsn)
    await reader.execute("begin; select count(*) from message")
    with pytest.raises(SchemaError, match=f"{name}: .*is there a long transaction on the table"):
        await migrate(store._database._dsn, later)
    await reader.close()
    assert len(await migrate(store._database._dsn, later)) == 1


@pytest.mark.parametrize("line", ["compatible: soon", f"compatible: {KNOWN + 2}", "compatible: 0", "transaction: two"])
def test_options_that_are_wrong_are_named(later: Path, line: str) -> None:
    name = add(later, f"-- {line}\nselect 1")
    with pytest.raises(SchemaError, match=f"{name}: {line.partition(':')[0]}"):
        migrations(later)


async def _waits(reader: asyncpg.Connection) -> bool:
    return bool(
        await reader.fetchval("select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'")
    )


def test_schema_files_of_a_release_stay_as_they_are() -> None:
    here = present()
    for release, files in noted().items():
        assert files.items() <= here.items(), f"{release}: released schema files are not edited; add a numbered one"
