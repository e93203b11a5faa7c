"""The progress of imports, so that an interrupted import continues where it stopped.

Invariants: progress is written in the same transaction as the records that it counts.

Limitations: a file is identified by its content; a changed file is another file.
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
    """The progress of an import. ``file``: SHA-256 of its content; ``records``: records read so far, valid or not."""

    file: bytes
    records: int
    finished: bool = False


async def begin(database: Database, account_id: int, file: bytes) -> ImportProgress:
    """Return the progress of this file's import, creating it if it is new. ``account_id`` 0: a file for all
    accounts. Raises StoreUnavailable."""
    async with database.session() as connection:
        row = await connection.fetchrow(_BEGIN, account_id, file)
    assert row is not None
    return ImportProgress(file, row["records"], row["finished_at"] is not None)


async def move(connection: Connection, account_id: int, mark: ImportProgress) -> None:
    await connection.execute(_MOVE, account_id, mark.file, mark.records, mark.finished)
