"""Bring the database's schema to this program's version, by the numbered files in ``schema/``.

Each file is applied once, in one transaction, and recorded with its hash. If several programs start at once, one
applies and the others wait. Programs of the version before may be at work on other machines meanwhile; two lines at the
head of a file, each if it applies, are for them:

    -- compatible: 8            programs that know the schema up to 8 may go on: only additions that they need not know
    -- transaction: none        statements run one by one (``create index concurrently``); each must bear a second run

Invariants: never waits for its turn inside PostgreSQL (a waiting transaction blocks ``create index concurrently``),
never runs on a schema that it is not compatible with, and never applies a file twice. A file waits for the lock of a
table in short tries: a longer wait would hold up all who want the table after it.

Limitations: there is no downgrade: going back needs a backup. In a file without a transaction no statement may contain
a semicolon of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import asyncpg

from mta.store.postgres.errors import SchemaError, StoreUnavailable

FOLDER = Path(__file__).with_name("schema")
OLDEST_SERVER = 15

_LOCK = 0x494D5052  # "IMPR": any number nobody else uses
_POLL = 0.1  # seconds between two tries for the lock
_PATIENCE = 300.0  # seconds; a migration of a large table by another program may take as long
_LOCK_TIMEOUT = "1s"  # for so long a statement that waits for a table holds up all who come after it
_LOCK_PATIENCE = 300.0  # seconds in all
_LOCK_REST = 0.5  # seconds between two tries
_OPTION = re.compile(r"-- (compatible|transaction): (\w+)$", re.MULTILINE)

_JOURNAL = """
create table if not exists schema_migration (
    version    int primary key,
    name       text not null,
    sha256     bytea not null,
    compatible int not null,        -- the oldest schema whose programs may go on using the database
    applied_at timestamptz not null default now()
)"""

_NEWEST = "select coalesce(max(version), 0), coalesce(max(compatible), 0) from schema_migration"


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str
    sha256: bytes
    compatible: int
    transactional: bool


@lru_cache(4)
def migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The files ``NNNN_name.sql`` of ``folder`` in order; numbers run from 1 without a gap. Raises SchemaError."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = re.match(r"(\d{4})_\w+\.sql\Z", path.name)
        if not match or int(match[1]) != len(found) + 1:
            raise SchemaError(f"{path}: migrations are numbered 0001_name.sql, 0002_name.sql and so on")
        found.append(_parsed(int(match[1]), path))
    return tuple(found)


def _parsed(version: int, path: Path) -> Migration:
    body = path.read_bytes()
    sql = body.decode()
    options = dict(_OPTION.findall(sql))
    compatible, transaction = options.get("compatible", str(version)), options.get("transaction", "one")
    if not compatible.isdecimal() or not 0 < int(compatible) <= version:
        raise SchemaError(f"{path}: compatible: {compatible} is not a version up to {version}")
    if transaction not in ("one", "none"):
        raise SchemaError(f"{path}: transaction: {transaction} is not valid; expected one or none")
    return Migration(version, path.name, sql, hashlib.sha256(body).digest(), int(compatible), transaction == "one")


async def migrate(dsn: str, folder: Path = FOLDER) -> list[str]:
    """Apply what is missing; the names of the files applied. Raises StoreUnavailable, SchemaError."""
    try:
        connection = await asyncpg.connect(dsn, timeout=10, server_settings={"application_name": "imprimatur migrate"})
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(str(error) or type(error).__name__) from None
    try:
        version = connection.get_server_version()
        if version.major < OLDEST_SERVER:
            raise SchemaError(f"PostgreSQL {version.major} is too old: {OLDEST_SERVER} or newer is needed")
        await _wait_for_turn(connection)
        try:
            return await _apply(connection, migrations(folder))
        finally:
            await connection.execute("select pg_advisory_unlock($1)", _LOCK)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        raise StoreUnavailable(f"lost while migrating: {error}") from error
    finally:
        connection.terminate()


async def check(connection: asyncpg.Connection) -> None:
    """Check that this program can use the database's schema. Raises SchemaError."""
    known = migrations()[-1].version
    try:
        row = await connection.fetchrow(_NEWEST)
    except asyncpg.UndefinedTableError:
        row = None
    version, oldest = row or (0, 0)
    if version < known:
        raise SchemaError(f"database schema {version} is older than this program's {known}: restart the service")
    if oldest > known:
        raise SchemaError(_newer(version, known))


async def _wait_for_turn(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 - another's lock
            await asyncio.sleep(_POLL)


async def _apply(connection: asyncpg.Connection, known: Sequence[Migration]) -> list[str]:
    await connection.execute(_JOURNAL)
    rows = await connection.fetch("select version, sha256, compatible from schema_migration order by version")
    if rows and max(row["compatible"] for row in rows) > known[-1].version:
        raise SchemaError(_newer(rows[-1]["version"], known[-1].version))
    applied = {row["version"]: row["sha256"] for row in rows}
    fresh = []
    for migration in known:
        if migration.version in applied:
            if applied[migration.version] != migration.sha256:
                raise SchemaError(f"{migration.name} was changed after it had been applied: put the old text back")
            continue
        try:
            await _apply_one(connection, migration)
        except asyncpg.PostgresSyntaxError as error:
            raise SchemaError(f"{migration.name}: {error}") from error
        fresh.append(migration.name)
    return fresh


async def _apply_one(connection: asyncpg.Connection, migration: Migration) -> None:
    """Apply a file as soon as no one else holds what it locks. Raises SchemaError if that takes too long."""
    end = time.monotonic() + _LOCK_PATIENCE
    await connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
    while True:
        try:
            if not migration.transactional:
                for statement in filter(str.strip, migration.sql.split(";")):
                    await connection.execute(statement)
            async with connection.transaction():
                if migration.transactional:
                    await connection.execute(migration.sql)
                await connection.execute(
                    "insert into schema_migration (version, name, sha256, compatible) values ($1, $2, $3, $4)",
                    migration.version, migration.name, migration.sha256, migration.compatible,
                )  # fmt: skip
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if time.monotonic() > end:
                raise SchemaError(f"{migration.name}: {error}; is there a long transaction on the table?") from None
        await asyncio.sleep(_LOCK_REST)


def _newer(version: int, known: int) -> str:
    return f"database schema {version} is newer than this program's {known}: upgrade the program"
