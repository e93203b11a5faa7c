"""Bring the database's schema to this program's version, by the numbered files in ``schema/``.

Each file is applied once, in one transaction, and recorded with its hash. If several programs start at once, one
applies and the others wait.

Invariants: never waits for its turn inside PostgreSQL (a waiting transaction blocks ``create index concurrently``),
never runs on a schema newer than it knows, and never applies a file twice.

Limitations: there is no downgrade: going back needs a backup.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
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

_JOURNAL = """
create table if not exists schema_migration (
    version    int primary key,
    name       text not null,
    sha256     bytea not null,
    applied_at timestamptz not null default now()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str
    sha256: bytes


@lru_cache(4)
def migrations(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The files ``NNNN_name.sql`` of ``folder`` in order; numbers run from 1 without a gap. Raises SchemaError."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = re.match(r"(\d{4})_\w+\.sql\Z", path.name)
        if not match or int(match[1]) != len(found) + 1:
            raise SchemaError(f"{path}: migrations are numbered 0001_name.sql, 0002_name.sql and so on")
        body = path.read_bytes()
        found.append(Migration(int(match[1]), path.name, body.decode(), hashlib.sha256(body).digest()))
    return tuple(found)


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
    """That the database has exactly the schema of this program. Raises SchemaError."""
    known = migrations()[-1].version
    try:
        version = await connection.fetchval("select max(version) from schema_migration")
    except asyncpg.UndefinedTableError:
        version = None
    if version is None or version < known:
        raise SchemaError(f"database schema {version or 0} is older than this program's {known}: restart the service")
    if version > known:
        raise SchemaError(_newer(version, known))


async def _wait_for_turn(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110 - another's lock
            await asyncio.sleep(_POLL)


async def _apply(connection: asyncpg.Connection, known: Sequence[Migration]) -> list[str]:
    await connection.execute(_JOURNAL)
    rows = await connection.fetch("select version, name, sha256 from schema_migration order by version")
    if rows and rows[-1]["version"] > known[-1].version:
        raise SchemaError(_newer(rows[-1]["version"], known[-1].version))
    applied = {row["version"]: row["sha256"] for row in rows}
    fresh = []
    for migration in known:
        if migration.version in applied:
            if applied[migration.version] != migration.sha256:
                raise SchemaError(f"{migration.name} was changed after it had been applied: put the old text back")
            continue
        try:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into schema_migration (version, name, sha256) values ($1, $2, $3)",
                    migration.version, migration.name, migration.sha256,
                )  # fmt: skip
        except asyncpg.PostgresSyntaxError as error:
            raise SchemaError(f"{migration.name}: {error}") from error
        fresh.append(migration.name)
    return fresh


def _newer(version: int, known: int) -> str:
    return f"database schema {version} is newer than this program's {known}: upgrade the program"
