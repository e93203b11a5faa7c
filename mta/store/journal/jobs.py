"""Jobs: what takes longer than a request, how far it is, and the mistakes that it found.

Limitations: a job whose process died stays ``running``; ``changed_at`` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.store.postgres.database import Database

_COLUMNS = """
j.id, j.kind, j.account_id, a.name as account, j.state, j.created_by, j.created_at, j.changed_at, j.finished_at,
j.result, j.errors"""
_FROM = "from job j left join account a on a.id = j.account_id"

_BEGIN = "insert into job (kind, account_id, created_by) values ($1, $2, $3) returning id"
_MOVE = """
update job set result = $2, errors = $3, state = $4, changed_at = now(),
    finished_at = case when $4 = 'running' then null else now() end
where id = $1"""
_FIND = f"select {_COLUMNS} {_FROM} where j.id = $1"
_LIST = f"""
select {_COLUMNS} {_FROM} where ($1::bigint is null or j.account_id = $1) and j.id < $2
order by j.id desc limit $3"""


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """``state``: running, done or failed. ``account`` None: about all. ``errors``: the first ones, line and text."""

    id: int
    kind: str
    account_id: int | None
    account: str | None
    state: str
    created_by: str
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None
    result: Mapping[str, Any]
    errors: Sequence[Mapping[str, Any]]


class Jobs:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, kind: str, account_id: int | None, by: str) -> int:
        """Return the number of a new job. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            number: int = await connection.fetchval(_BEGIN, kind, account_id, by)
            return number

    async def move(
        self, number: int, result: Mapping[str, Any], errors: Sequence[Mapping[str, Any]], state: str = "running"
    ) -> None:
        """Note how far a job is, or that it has ended. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_MOVE, number, orjson.dumps(result).decode(), orjson.dumps(errors).decode(), state)

    async def find(self, number: int) -> RecordedJob | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FIND, number)
        return _job(row) if row else None

    async def list(
        self, account_id: int | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[RecordedJob]:
        """Return the newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_job(row) for row in await connection.fetch(_LIST, account_id, before or 2**62, limit)]


def _job(row: Any) -> RecordedJob:
    return RecordedJob(**{**row, "result": orjson.loads(row["result"]), "errors": orjson.loads(row["errors"])})
