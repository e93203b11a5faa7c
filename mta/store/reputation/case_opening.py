"""Open complaint cases, within the transaction that found the complaint.

A complaint with the same account, source, mailing and recipient as an open case is added to it, so that repeated
reports of one recipient are one case. Each letter of an authority is a case of its own. The ledger extract about the
recipient at that time is stored with the case.

Invariants: the contents of a complaint never make the surrounding transaction fail.

Limitations: the first ``KEPT`` complaints of a case are stored as received; later ones are only counted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.identity import format_id
from mta.mail.reply import sanitise
from mta.store.journal import outbox
from mta.store.permission.consents import extracts_of_key
from mta.store.postgres.database import Connection
from policy.accounts.account import Account
from policy.permission.dossier import Dossier, as_json
from policy.reputation.complaint import EVIDENCE, CaseEventKind, Complaint

KEPT = 20  # complaints of one case whose text is kept
LONGEST = 500  # characters of a summary

_ACCOUNT = "select name, profile from account where id = $1"

# An urgent complaint restarts the case, unless the account is already suspended for it.
_OPEN = """
insert into complaint_case as c
    (account_id, source, profile, mailing, message_id, address, address_key, summary, urgent)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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


class CaseError(ValueError):
    """The case cannot be changed; the text says how to fix it."""


async def open_case(connection: Connection, complaint: Complaint) -> int:
    """Open a case for ``complaint``, or add it to an open one, within the caller's transaction; return the id.

    The service notifies the account shortly after, which starts the deadline. Raises CaseError if there is no such
    account.
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
    )
    assert row is not None
    case_id: int = row["id"]
    fresh = row["complaints"] == 1
    if fresh and complaint.address_key is not None:
        known = await _dossier(connection, complaint, account["name"])
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


async def _dossier(connection: Connection, complaint: Complaint, name: str) -> dict[str, Any]:
    """Return what the account's ledger has about the complainant."""
    assert complaint.address_key is not None
    account = Account(complaint.account_id, name, frozenset())
    for each in await extracts_of_key(connection, complaint.address_key):
        if each.account_id == complaint.account_id:
            proofs, consents = each.proofs, each.consents
            break
    else:
        proofs, consents = (), ()
    return as_json(Dossier(complaint.address or "", account, datetime.now(UTC), proofs, consents, ()))
