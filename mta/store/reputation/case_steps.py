"""Apply a step of a complaint case: the row, its history, the events, and the effect on the account.

All of it is part of the caller's transaction, which has locked first the account and then the case.

Invariants: an account is not resumed while another case stands against it, nor if an operator suspended it for another
reason.

Limitations: an account that is not active yet cannot be suspended; the case then blocks its approval.
"""

from __future__ import annotations

from typing import Any, assert_never

from mta.store.accounts.account_status import change_status, fail_queue
from mta.store.journal import outbox
from mta.store.journal.account_changes import lock
from mta.store.postgres.database import Connection
from mta.store.reputation import case_rows
from mta.store.reputation.case_opening import say
from policy.accounts.account import AccountStatus, StatusChange
from policy.reputation.complaint import Case, CaseEffect, CaseEventKind, Step

_OTHER = """
select min(id) from complaint_case where account_id = $1 and state = 'suspended' and id <> $2"""


async def take(connection: Connection, step: Step, *, by: str, said: dict[str, Any] | None = None) -> int:
    """Store ``step`` and apply its effects; return the number of queued recipients concerned.

    ``said``: further fields for the history.
    """
    case = step.case
    await case_rows.write(connection, case)
    recipients = 0
    if step.consequence is not None:
        recipients = await _follow(connection, case, step.consequence, by)
    for happening in step.happened:
        data: dict[str, Any] = {"state": case.state.value} | (said or {})
        if case.due_at is not None:
            data["due_at"] = case.due_at
        if recipients:
            data["recipients"] = recipients
        await say(connection, case.id, by, happening, data)
        await tell_webhooks(connection, case, happening)
    return recipients


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
        "due_at": case.due_at,
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


async def _follow(connection: Connection, case: Case, consequence: CaseEffect, by: str) -> int:
    match consequence:
        case CaseEffect.SUSPEND:
            return await _suspend(connection, case, by)
        case CaseEffect.BOUNCE:
            why = f"account_state: the account is suspended (case {case.number}) and its time to answer has expired"
            return await fail_queue(connection, case.account_id, why)
        case CaseEffect.RESUME:
            return await _resume(connection, case, by)
        case _:
            assert_never(consequence)


async def _suspend(connection: Connection, case: Case, by: str) -> int:
    if await lock(connection, case.account_id) is not AccountStatus.ACTIVE:
        return 0
    reason = f"complaint, {case.source.value.replace('_', ' ')}: {case.summary}"
    moved = await change_status(
        connection, case.account_id, StatusChange.SUSPEND, by=by, reason=reason, case=case.number
    )
    return moved.recipients


async def _resume(connection: Connection, case: Case, by: str) -> int:
    """Resume the account if it was suspended for this case. If another case stands against it, that one is named
    instead."""
    status = await lock(connection, case.account_id)
    named = await connection.fetchval("select complaint_case from account where id = $1", case.account_id)
    if status is not AccountStatus.SUSPENDED or named != case.number:
        return 0
    if other := await connection.fetchval(_OTHER, case.account_id, case.id):
        await connection.execute("update account set complaint_case = $2 where id = $1", case.account_id, f"C-{other}")
        return 0
    reason = f"case {case.number} is {case.state.value}"
    moved = await change_status(connection, case.account_id, StatusChange.RESUME, by=by, reason=reason)
    await say(connection, case.id, by, CaseEventKind.RESUMED, {"recipients": moved.recipients})
    await tell_webhooks(connection, case, CaseEventKind.RESUMED)
    return moved.recipients
