"""Trip and cancel breakers, each with its effect on queued mail, in one transaction.

A trip records the breaker, stops its mailing, opens a case and notifies the account. A cancellation releases exactly
what the breaker held, and discounts what was counted until then.

Invariants: an open breaker is not tripped again. A cancellation has a name and a reason. No recipient is lost.

Limitations: a transmission in progress is not stopped. Cancelling a breaker over a million rows is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from mta.mail.reply import sanitise
from mta.store.journal import outbox
from mta.store.journal.account_changes import AccountChangeKind as Change
from mta.store.journal.account_changes import note
from mta.store.mailings import mailings
from mta.store.postgres.database import Connection
from mta.store.queue import holds
from mta.store.queue.holds import of_account
from mta.store.reputation import delivery_stats
from mta.store.reputation.case_opening import open_case
from policy.reputation.breaker import BreakerFinding, BreakerKind, MailingScope, ProviderScope, Scope
from policy.reputation.complaint import BY_US, Complaint, Source

CHANNEL = "breakers"
LONGEST = 300  # characters of a reason

COLUMNS = """
id, name, account_id, mailing, provider, stream::text as stream, kind, cases, rate, ceiling, volume, words, tripped_at,
case_id, cancelled_at, cancelled_by, reset_reason"""

_TRIP = """
insert into breaker (name, account_id, mailing, provider, stream, kind, cases, rate, ceiling, volume, words)
values ($1, $2, $3, $4, $5::text::stream, $6, $7, $8, $9, $10, $11)
on conflict (name) where cancelled_at is null do nothing returning id"""

_FORGIVEN = f"""
select coalesce((
    select to_jsonb(one) from (
        select {delivery_stats.COUNTS} from delivery_stats t
        where t.account_id = b.account_id and t.mailing = coalesce(b.mailing, '')
            and t.provider = coalesce(b.provider, '') and t.hour = date_trunc('hour', now())
            and t.stream = coalesce(b.stream, 'marketing')
    ) one
), '{{}}') from breaker b where b.id = $1"""  # noqa: S608 - our own text

_CANCEL = """
update breaker set cancelled_at = now(), cancelled_by = $2, reset_reason = $3
where name = $1 and cancelled_at is null
returning id, account_id, mailing"""

_SAY = "insert into event (kind, data) values ($1, $2)"


class BreakerError(ValueError):
    """The breaker cannot be changed; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class Tripped:
    """A breaker that has tripped, open or cancelled."""

    id: int
    name: str
    scope: Scope
    kind: BreakerKind
    cases: int
    rate: float
    ceiling: float
    volume: int
    words: str
    tripped_at: datetime
    case_id: int | None
    cancelled_at: datetime | None
    cancelled_by: str | None
    reset_reason: str | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancelled breaker. ``released``: recipients that it had held. ``mailing``: the mailing that may continue."""

    released: int
    mailing: str | None


async def trip(connection: Connection, finding: BreakerFinding) -> bool:
    """Trip a breaker within the caller's transaction; return whether it was closed before."""
    scope, mailing = finding.scope, finding.scope.mailing if isinstance(finding.scope, MailingScope) else None
    lane = scope if isinstance(scope, ProviderScope) else None
    breaker_id = await connection.fetchval(
        _TRIP,
        finding.name,
        scope.account_id,
        mailing,
        lane.provider if lane else None,
        lane.stream.value if lane else None,
        finding.kind.value,
        finding.cases,
        finding.rate,
        finding.ceiling,
        finding.volume,
        finding.words,
    )
    if breaker_id is None:
        return False
    complaint = Complaint(scope.account_id, Source.BREAKER, f"{finding.name}: {finding.words}", mailing=mailing)
    case_id = await open_case(connection, complaint)
    await connection.execute("update breaker set case_id = $2 where id = $1", breaker_id, case_id)
    if mailing is not None:
        await mailings.stop(connection, mailing, by=finding.name, why=finding.words)
    data = told(finding) | {"case": f"C-{case_id}"}
    await connection.execute(_SAY, "breaker_tripped", orjson.dumps(data).decode())
    await note(connection, scope.account_id, BY_US, Change.BREAKER, data | {"act": "tripped"})
    await outbox.note(connection, scope.account_id, "breaker_tripped", data)
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return True


async def cancel(connection: Connection, name: str, *, by: str, reason: str) -> Cancelled:
    """Cancel a breaker within the caller's transaction; the mailing's rows are to be settled afterwards. Raises
    BreakerError."""
    by, reason = (sanitise(" ".join(text.split()), LONGEST) for text in (by, reason))
    if not by or not reason:
        raise BreakerError("a cancellation needs a name and a reason")
    row = await connection.fetchrow(_CANCEL, name, by, reason)
    if row is None:
        raise BreakerError(f"no open breaker {name[:200]!r} (mta breaker list)")
    forgiven = await connection.fetchval(_FORGIVEN, row["id"])
    await connection.execute("update breaker set forgiven = $2 where id = $1", row["id"], forgiven)
    scope, why = of_account(row["account_id"]), f"breaker {name} cancelled by {by}: {reason}"
    freed = await holds.release(connection, scope, [HoldSource.BREAKER], why, refs=[name])
    if row["mailing"] is not None:
        await mailings.resume(connection, row["mailing"], stopped_by=name, by=by)
    data = {"breaker": name, "by": by, "reason": reason, "recipients": freed.recipients}
    await connection.execute(_SAY, "breaker_cancelled", orjson.dumps(data).decode())
    await note(connection, row["account_id"], by, Change.BREAKER, data | {"act": "cancelled"})
    await outbox.note(connection, row["account_id"], "breaker_cancelled", data)
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return Cancelled(freed.recipients, row["mailing"])


async def warn(connection: Connection, finding: BreakerFinding) -> None:
    """Record a warning."""
    await connection.execute(_SAY, "breaker_warning", orjson.dumps(told(finding)).decode())
    await outbox.note(connection, finding.scope.account_id, "breaker_warning", told(finding))


def told(finding: BreakerFinding) -> dict[str, Any]:
    """Return the fields of a finding for events."""
    return {
        "breaker": finding.name,
        "account_id": finding.scope.account_id,
        "kind": finding.kind.value,
        "cases": finding.cases,
        "volume": finding.volume,
        "rate": finding.rate,
        "ceiling": finding.ceiling,
        "words": finding.words,
    }


def tripped_of(row: Any) -> Tripped:
    """Return the breaker of a row with ``COLUMNS``."""
    scope: Scope = (
        MailingScope(row["account_id"], row["mailing"])
        if row["mailing"] is not None
        else ProviderScope(row["account_id"], row["provider"], Stream(row["stream"]))
    )
    return Tripped(
        id=row["id"],
        name=row["name"],
        scope=scope,
        kind=BreakerKind(row["kind"]),
        cases=row["cases"],
        rate=row["rate"],
        ceiling=row["ceiling"],
        volume=row["volume"],
        words=row["words"],
        tripped_at=row["tripped_at"],
        case_id=row["case_id"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
        reset_reason=row["reset_reason"],
    )
