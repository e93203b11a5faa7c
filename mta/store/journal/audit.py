"""The audit: who changed what, from where, when and why, with what was there before and after.

A row is written before a change and completed after it, so that there is no change without a row. A row that stays
``begun`` belongs to a process that died: the change was made or not.

Invariants: never contains a secret. Rows are changed by ``end`` and by erasure only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson

from mta.store.postgres.database import Connection, Database

MAX_TEXT = 1000  # characters kept of a subject or reason
MAX_STATE = 16 * 1024  # octets of JSON kept of each state

_BEGIN = """
insert into audit (actor, role, via, source, action, subject, account_id, address_key, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning id"""

_END = "update audit set outcome = $2, before = $3, after = $4, account_id = coalesce($5, account_id) where id = $1"

_LIST = """
select a.id, a.at, a.actor, a.role, a.via, a.source, a.action, a.subject, c.name as account, a.reason, a.outcome,
    a.before, a.after
from audit a left join account c on c.id = a.account_id
where a.id < $1 and ($2::bigint is null or a.account_id = $2) and ($3::text is null or a.actor = $3)
    and ($4::text is null or a.action = $4 or starts_with(a.action, $4 || '.'))
order by a.id desc limit $5"""

_ERASE = """
update audit set subject = '(erased)', before = null, after = null, address_key = null
where address_key = $1 and ($2::bigint is null or account_id = $2)"""


class AuditOutcome(Enum):
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditStart:
    """What is known before a change. ``via``: cli, api or page; ``address_key``: the recipient that it is about."""

    actor: str
    role: str
    via: str
    source: str
    action: str
    subject: str
    account_id: int | None = None
    address_key: bytes | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row as it is shown."""

    id: int
    at: datetime
    actor: str
    role: str
    via: str
    source: str
    action: str
    subject: str
    account: str | None
    reason: str
    outcome: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Audit:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, start: AuditStart) -> int:
        """Write down what is about to be done; return its number. Raises StoreUnavailable; then do not do it."""
        async with self._database.session() as connection:
            number: int = await connection.fetchval(
                _BEGIN, start.actor, start.role, start.via, start.source, start.action, start.subject[:MAX_TEXT],
                start.account_id, start.address_key, start.reason[:MAX_TEXT],
            )  # fmt: skip
            return number

    async def end(
        self,
        number: int,
        outcome: AuditOutcome,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        account_id: int | None = None,
    ) -> None:
        """Write down what came of it. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_END, number, outcome.value, _state(before), _state(after), account_id)

    async def list(
        self,
        *,
        account_id: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[AuditRow]:
        """Return the newest rows first. ``action``: one, or the first part of its name; ``before``: a row's id.

        Raises StoreUnavailable.
        """
        async with self._database.session() as connection:
            rows = await connection.fetch(_LIST, before or 2**62, account_id, actor, action, limit)
        return [AuditRow(**{**row, "before": _read(row["before"]), "after": _read(row["after"])}) for row in rows]


async def erase(connection: Connection, address_key: bytes, account_id: int | None) -> None:
    """Erase what names a recipient, in the rows of one account or in all (None)."""
    await connection.execute(_ERASE, address_key, account_id)


def _state(state: Mapping[str, Any] | None) -> str | None:
    if state is None:
        return None
    text = orjson.dumps(state, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if len(text) <= MAX_STATE else orjson.dumps({"too_long": len(text)}).decode()


def _read(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
