"""Complaint cases in the database: opened, read, locked, and changed step by step, with the effect on the account.

A complaint with the same account, source, mailing and recipient as an open case is added to it, so that repeated
reports of one recipient are one case. Each letter of an authority is a case of its own. The ledger extract about the
recipient at that time is stored with the case. All of it is part of the caller's transaction; a step needs the account
locked first, then the case.

Invariants: the contents of a complaint never make the surrounding transaction fail. A row is updated only by the
transaction that has locked it. An account is not resumed while another case stands against it, nor if an operator
suspended it for another reason.

Limitations: the first ``KEPT`` complaints of a case are stored as received; later ones are only counted. An account
that is not active yet cannot be suspended; the case then blocks its approval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never

import orjson

from mta.mail.identity import format_id
from mta.mail.reply import sanitise
from mta.store.accounts.account_status import change_status, fail_queue
from mta.store.journal import outbox
from mta.store.journal.account_changes import lock
from mta.store.mailings import references
from mta.store.permission.consents import extracts_of_key
from mta.store.postgres.database import Connection
from mta.store.postgres.errors import ChangeRefused
from policy.accounts.account import Account, AccountStatus, StatusChange
from policy.permission.dossier import Dossier, as_json
from policy.reputation.complaint import (
    EVIDENCE,
    Case,
    CaseEffect,
    CaseEventKind,
    CaseState,
    Complaint,
    ComplaintCause,
    ComplaintCauseKind,
    Source,
    Step,
    Until,
)

_SELECT = """
select c.*, c.state::text as state_text, a.name as account, m.name as mailing_name
from complaint_case c join account a on a.id = c.account_id left join mailing m on m.id = c.mailing
"""

_WRITE = """
update complaint_case set state = $2::text::case_state, due_at = $3, remaining = $4, told_at = $5, answered_at = $6,
    closed_at = $7, upheld = $8, until = $9, decide_within = $10, unproven_at = $11
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
        case.decide_within,
        case.unproven_at,
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
        cause=_cause(row["cause"]),
        mailing=row["mailing"],
        mailing_name=row["mailing_name"],
        message_id=row["message_id"],
        address=row["address"],
        urgent=row["urgent"],
        complaints=row["complaints"],
        due_at=row["due_at"],
        until=Until(row["until"]),
        remaining=row["remaining"],
        decide_within=row["decide_within"],
        told_at=row["told_at"],
        answered_at=row["answered_at"],
        unproven_at=row["unproven_at"],
        closed_at=row["closed_at"],
        upheld=row["upheld"],
        dossier=orjson.loads(row["dossier"]) if row["dossier"] else None,
        costs=tuple(orjson.loads(row["costs"])),
    )


def _cause(stored: str | None) -> ComplaintCause | None:
    if stored is None:
        return None
    fields = orjson.loads(stored)
    return ComplaintCause(ComplaintCauseKind(fields["kind"]), fields["facts"])


KEPT = 20  # complaints of one case whose text is kept
LONGEST = 500  # characters of a summary

_ACCOUNT = "select profile from account where id = $1"

# An urgent complaint restarts the case, unless the account is already suspended for it.
_OPEN = """
insert into complaint_case as c
    (account_id, source, profile, mailing, message_id, address, address_key, summary, urgent, cause)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (account_id, source, mailing, address_key)
    where state <> 'closed' and source not in ('regulator', 'advertising_body', 'csa')
do update set
    complaints = c.complaints + 1,
    address = coalesce(c.address, excluded.address),
    message_id = coalesce(c.message_id, excluded.message_id),
    state = case when excluded.urgent and not (c.urgent and c.state = 'suspended') then 'open' else c.state end,
    urgent = c.urgent or excluded.urgent
returning id, complaints"""

_DOSSIER = "update complaint_case set dossier = $2 where id = $1"

_SAY = "insert into case_event (case_id, by, kind, data, evidence) values ($1, $2, $3, $4, $5)"


class CaseError(ChangeRefused):
    """The case cannot be changed; the text says how to fix it."""


async def open_case(connection: Connection, complaint: Complaint, dossier: Mapping[str, Any] | None = None) -> int:
    """Open a case for ``complaint``, or add it to an open one, within the caller's transaction; return the id.

    ``dossier``: taken before the transaction changed any consent; None: it has not changed any. The service notifies
    the account shortly after, which starts the deadline. Raises CaseError if there is no such account.
    """
    account = await connection.fetchrow(_ACCOUNT, complaint.account_id)
    if account is None:
        raise CaseError(f"there is no account {complaint.account_id}")
    summary = sanitise(" ".join(complaint.summary.split()), LONGEST)
    row = await connection.fetchrow(
        _OPEN,
        complaint.account_id,
        complaint.source.value,
        account["profile"],
        complaint.mailing,
        complaint.message_id,
        None if complaint.address is None else sanitise(complaint.address, LONGEST),
        complaint.address_key,
        summary,
        complaint.urgent,
        None if complaint.cause is None else orjson.dumps(complaint.cause).decode(),
    )
    assert row is not None
    case_id: int = row["id"]
    fresh = row["complaints"] == 1
    if fresh and complaint.address_key is not None:
        known = dossier or await dossier_of(connection, complaint)
        await connection.execute(_DOSSIER, case_id, orjson.dumps(known).decode())
    data: dict[str, Any] = {"summary": summary, "source": complaint.source.value, "urgent": complaint.urgent}
    if complaint.message_id is not None:
        data["message"] = format_id(complaint.message_id)
    kept = complaint.evidence[:EVIDENCE] if row["complaints"] <= KEPT else b""
    kind = CaseEventKind.OPENED if fresh else CaseEventKind.COMPLAINT
    await say(connection, case_id, complaint.by, kind, data, kept or None)
    if fresh:
        told = data | {"case": f"C-{case_id}", "mailing": complaint.mailing, "recipient": complaint.address}
        await outbox.note(connection, complaint.account_id, "case_opened", told, message_id=complaint.message_id)
    return case_id


async def say(
    connection: Connection,
    case_id: int,
    by: str,
    kind: CaseEventKind,
    data: dict[str, Any] | None = None,
    evidence: bytes | None = None,
) -> None:
    """Add an entry to the history of a case."""
    await connection.execute(_SAY, case_id, by, kind.value, orjson.dumps(data or {}).decode(), evidence)


async def dossier_of(connection: Connection, complaint: Complaint) -> dict[str, Any] | None:
    """Return what the account's ledger has about the complainant, and what was confirmed for the mailing; None if the
    complainant is unknown."""
    if complaint.address_key is None:
        return None
    name = await connection.fetchval("select name from account where id = $1", complaint.account_id)
    account = Account(complaint.account_id, name or "", frozenset())
    for each in await extracts_of_key(connection, complaint.address_key):
        if each.account_id == complaint.account_id:
            proofs, consents = each.proofs, each.consents
            break
    else:
        proofs, consents = (), ()
    dossier = as_json(Dossier(complaint.address or "", account, datetime.now(UTC), proofs, consents, ()))
    confirmed = await references.ticked(connection, complaint.mailing) if complaint.mailing else []
    return dossier | {"confirmed": confirmed}


_OTHER = """
select min(id) from complaint_case where account_id = $1 and state = 'suspended' and id <> $2"""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """What a step led to. ``recipients``: queued ones concerned; ``resumed``: the account was."""

    recipients: int = 0
    resumed: bool = False


async def take_step(connection: Connection, step: Step, *, by: str, said: dict[str, Any] | None = None) -> StepTaken:
    """Store ``step`` and apply its effects. ``said``: further fields for the history."""
    case = step.case
    await write(connection, case)
    taken = StepTaken()
    if step.consequence is not None:
        taken = await _follow(connection, case, step.consequence, by)
    recipients = taken.recipients
    for happening in step.happened:
        data: dict[str, Any] = {"state": case.state.value} | (said or {})
        if case.due_at is not None:
            data["due_at"] = case.due_at
        if recipients:
            data["recipients"] = recipients
        await say(connection, case.id, by, happening, data)
        if happening is not CaseEventKind.REMINDED:
            await tell_webhooks(connection, case, happening)
    return taken


async def tell_webhooks(connection: Connection, case: Case, happening: CaseEventKind) -> None:
    """Queue the event for the account's webhooks, without our remarks."""
    data = {
        "case": case.number,
        "source": case.source.value,
        "state": case.state.value,
        "urgent": case.urgent,
        "summary": case.summary,
        "mailing": case.mailing,
        "mailing_name": case.mailing_name,
        "recipient": case.address,
        "due_at": None if case.waits_for_desk else case.due_at,
    }
    await outbox.note(connection, case.account_id, f"case_{happening.value}", data, message_id=case.message_id)


async def terminate(connection: Connection, case: Case, reason: str, *, by: str) -> None:
    """Terminate the account, whatever its status."""
    status = await lock(connection, case.account_id)
    if status is AccountStatus.TERMINATED:
        return
    if status is AccountStatus.ACTIVE:
        await change_status(connection, case.account_id, StatusChange.SUSPEND, by=by, reason=reason, case=case.number)
    moved = await change_status(
        connection, case.account_id, StatusChange.TERMINATE, by=by, reason=reason, case=case.number
    )
    await say(connection, case.id, by, CaseEventKind.TERMINATED, {"reason": reason, "recipients": moved.recipients})
    await tell_webhooks(connection, case, CaseEventKind.TERMINATED)


async def _follow(connection: Connection, case: Case, consequence: CaseEffect, by: str) -> StepTaken:
    match consequence:
        case CaseEffect.SUSPEND:
            return StepTaken(await _suspend(connection, case, by))
        case CaseEffect.BOUNCE:
            why = f"account_state: the account is suspended (case {case.number}) and its time to answer has expired"
            return StepTaken(await fail_queue(connection, case.account_id, why))
        case CaseEffect.RESUME:
            return await _resume(connection, case, by)
        case _:
            assert_never(consequence)


async def _suspend(connection: Connection, case: Case, by: str) -> int:
    if await lock(connection, case.account_id) is not AccountStatus.ACTIVE:
        return 0
    # Senders read it in replies: never what the complainant wrote.
    reason = f"complaint, source: {case.source.value.replace('_', ' ')}"
    moved = await change_status(
        connection, case.account_id, StatusChange.SUSPEND, by=by, reason=reason, case=case.number
    )
    return moved.recipients


async def _resume(connection: Connection, case: Case, by: str) -> StepTaken:
    """Resume the account if it was suspended for this case. If another case stands against it, that one is named
    instead."""
    status = await lock(connection, case.account_id)
    named = await connection.fetchval("select complaint_case from account where id = $1", case.account_id)
    if status is not AccountStatus.SUSPENDED or named != case.number:
        return StepTaken()
    if other := await connection.fetchval(_OTHER, case.account_id, case.id):
        await connection.execute("update account set complaint_case = $2 where id = $1", case.account_id, f"C-{other}")
        return StepTaken()
    reason = f"case {case.number} is {case.state.value}"
    moved = await change_status(connection, case.account_id, StatusChange.RESUME, by=by, reason=reason)
    await say(connection, case.id, by, CaseEventKind.RESUMED, {"recipients": moved.recipients})
    await tell_webhooks(connection, case, CaseEventKind.RESUMED)
    return StepTaken(moved.recipients, resumed=True)
