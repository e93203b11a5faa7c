"""How far each file was imported, so that an import that was cut off goes on where it stopped.

It must never move a mark but in the transaction that writes what it speaks of.

*Limits.* A file is known by its content: one that was changed is another file.
"""

from __future__ import annotations

from dataclasses import dataclass

from mta.store.postgres.database import Connection, Database

_BEGIN = """
insert into consent_import (account_id, file) values ($1, $2)
on conflict (account_id, file) do update set file = excluded.file
returning records, finished_at"""

_MOVE = """
update consent_import set records = $3, finished_at = case when $4 then now() end
where account_id = $1 and file = $2"""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come. ``file``: SHA-256 of its content; ``records``: read so far, good or bad."""

    file: bytes
    records: int
    finished: bool = False


async def begin(database: Database, account_id: int, file: bytes) -> ImportProgress:
    """How far this file was imported before; from the start if never. ``account_id`` 0: a file of no one account.
    Raises StoreUnavailable."""
    async with database.session() as connection:
        row = await connection.fetchrow(_BEGIN, account_id, file)
    assert row is not None
    return ImportProgress(file, row["records"], row["finished_at"] is not None)


async def move(connection: Connection, account_id: int, mark: ImportProgress) -> None:
    await connection.execute(_MOVE, account_id, mark.file, mark.records, mark.finished)
