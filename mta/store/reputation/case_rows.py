"""Complaint cases in the database: read, locked, and updated after a step.

Invariants: a row is updated only by the transaction that has locked it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.store.postgres.database import Connection
from policy.reputation.complaint import Case, CaseEventKind, CaseState, Source, Until

_SELECT = """
select c.*, c.state::text as state_text, a.name as account, m.name as mailing_name
from complaint_case c join account a on a.id = c.account_id left join mailing m on m.id = c.mailing
"""

_WRITE = """
update complaint_case set state = $2::text::case_state, due_at = $3, remaining = $4, told_at = $5, answered_at = $6,
    closed_at = $7, upheld = $8, until = $9
where id = $1"""


@dataclass(frozen=True, slots=True)
class CaseEntry:
    """An entry in the history of a case. ``evidence``: the complaint or the answer as received."""

    at: datetime
    by: str
    kind: CaseEventKind
    data: dict[str, Any]
    evidence: bytes | None


async def find(connection: Connection, where: str, *values: object) -> list[Case]:
    """Return the cases for which ``where`` holds. It is inserted into the SQL (alias ``c`` for the case): constants
    only."""
    return [_case(row) for row in await connection.fetch(_SELECT + where, *values)]


async def write(connection: Connection, case: Case) -> None:
    """Store the changes of a step."""
    await connection.execute(
        _WRITE,
        case.id,
        case.state.value,
        case.due_at,
        case.remaining,
        case.told_at,
        case.answered_at,
        case.closed_at,
        case.upheld,
        case.until.value,
    )


async def history(connection: Connection, case_id: int) -> Sequence[CaseEntry]:
    """Return the history of a case, oldest first."""
    rows = await connection.fetch(
        "select at, by, kind, data, evidence from case_event where case_id = $1 order by id", case_id
    )
    return [
        CaseEntry(row["at"], row["by"], CaseEventKind(row["kind"]), orjson.loads(row["data"]), row["evidence"])
        for row in rows
    ]


def _case(row: Any) -> Case:
    return Case(
        id=row["id"],
        account_id=row["account_id"],
        account=row["account"],
        source=Source(row["source"]),
        state=CaseState(row["state_text"]),
        profile=row["profile"],
        summary=row["summary"],
        opened_at=row["opened_at"],
        mailing=row["mailing"],
        mailing_name=row["mailing_name"],
        message_id=row["message_id"],
        address=row["address"],
        urgent=row["urgent"],
        complaints=row["complaints"],
        due_at=row["due_at"],
        until=Until(row["until"]),
        remaining=row["remaining"],
        told_at=row["told_at"],
        answered_at=row["answered_at"],
        closed_at=row["closed_at"],
        upheld=row["upheld"],
        dossier=orjson.loads(row["dossier"]) if row["dossier"] else None,
        costs=tuple(orjson.loads(row["costs"])),
    )
