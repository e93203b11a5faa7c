"""The life of accounts: each move with who, when and why, and with what it means for the account's queue.

A suspension holds what is queued, a resumption releases just that, a termination has it fail and ends all credentials:
each in the transaction that moves the account, after which every worker is told.

It must never release what was held for another reason, let an account send on while a complaint case stands in the
way, or make a recipient disappear: what fails does so with its event and its notice.

*Limits.* What is being transmitted at this moment is not stopped. A move over a million rows is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountChangeKind, AccountError, Changes, lock, note
from mta.store.postgres.database import Connection
from mta.store.queue import queue
from policy.accounts.account import HELD, AccountStatus, StatusChange, StatusChangeRefused, after, hold_reason

_EXPLAINED = (StatusChange.REQUEST_CHANGES, StatusChange.SUSPEND, StatusChange.TERMINATE)  # moves that need a reason
_LONGEST = 300  # characters of a reason

_HOLD = """
with changed as (
    update queue set held = $2 where account_id = $1 and held is null and bounce is null
    returning message_id, recipient_index, lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'held', jsonb_build_object('reason', $2::text) from changed
)
select count(*), count(lease) from changed"""

_RELEASE = """
with changed as (
    update queue set held = null, due_at = least(now(), expires_at)
    where account_id = $1 and starts_with(held, $3)
    returning message_id, recipient_index, lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'released', jsonb_build_object('reason', $2::text) from changed
)
select count(*), count(lease) from changed"""

_BOUNCE = """
with changed as (
    update queue set bounce = $2, held = null, due_at = least(now(), expires_at)
    where account_id = $1 and bounce is null
    returning message_id, recipient_index, lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'bounced', jsonb_build_object('reason', $2::text) from changed
)
select count(*), count(lease) from changed"""

_IN_THE_WAY = "select min(id) from complaint_case where account_id = $1 and state = 'suspended'"


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """``recipients``: queued ones that were held, released or made to fail."""

    status: AccountStatus
    recipients: int = 0


class AccountStatuses:
    """Made by ``Store``."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def move(
        self, account_id: int, move: StatusChange, *, by: str, reason: str = "", case: str = ""
    ) -> StatusChanged:
        """Move an account. ``case``: the complaint case behind a suspension. Raises AccountError, StoreUnavailable."""
        return await self._changes.change(
            lambda connection: change_status(connection, account_id, move, by=by, reason=reason, case=case),
            seconds=queue.SECONDS,
        )


async def change_status(
    connection: Connection, account_id: int, move: StatusChange, *, by: str, reason: str = "", case: str = ""
) -> StatusChanged:
    """The same within the caller's transaction (of ``Accounts.change``, so that everybody is told)."""
    reason, case = (sanitise(" ".join(text.split()), _LONGEST) for text in (reason, case))
    if move in _EXPLAINED and not reason:
        raise AccountError(f"{move.value}: say why; the account's owner will be told")
    before = await lock(connection, account_id)
    try:
        reached = after(before, move)
    except StatusChangeRefused as error:
        raise AccountError(f"{move.value}: {error}") from None
    if reached is AccountStatus.ACTIVE and (open_case := await connection.fetchval(_IN_THE_WAY, account_id)):
        raise AccountError(
            f"{move.value}: case C-{open_case} is open; first mta complaint accept or mta complaint close"
        )
    name: str = await connection.fetchval(
        "update account set status = $2::text::account_status, reason = $3, complaint_case = $4 where id = $1"
        " returning name",
        account_id,
        reached.value,
        reason,
        case,
    )
    recipients = await _move_queue(connection, account_id, move, hold_reason(name, reason, case), reason)
    data = {"from": before.value, "to": reached.value, "move": move.value, "reason": reason, "case": case}
    await note(connection, account_id, by, AccountChangeKind.STATUS, data | {"recipients": recipients})
    return StatusChanged(reached, recipients)


async def fail_queue(connection: Connection, account_id: int, reason: str) -> int:
    """What the account has queued fails, whatever it waits for; how many recipients. In the caller's transaction."""
    await _plan_for_many(connection)
    return await _changed(connection, _BOUNCE, account_id, reason)


async def _move_queue(connection: Connection, account_id: int, move: StatusChange, hold: str, reason: str) -> int:
    """Do to the account's queue what the move asks for; how many recipients that concerns."""
    await _plan_for_many(connection)
    match move:
        case StatusChange.SUSPEND:
            return await _changed(connection, _HOLD, account_id, hold)
        case StatusChange.RESUME | StatusChange.APPROVE:
            return await _changed(connection, _RELEASE, account_id, reason, HELD)
        case StatusChange.TERMINATE:
            recipients = await _changed(connection, _BOUNCE, account_id, f"the account is terminated: {reason}")
            await connection.execute(
                "update credential set revoked_at = now() where account_id = $1 and coalesce(revoked_at > now(), true)",
                account_id,
            )
            return recipients
        case StatusChange.REVIEW | StatusChange.REQUEST_CHANGES:
            return 0
        case _:
            assert_never(move)


async def _plan_for_many(connection: Connection) -> None:
    await connection.execute("set local enable_seqscan = on; set local plan_cache_mode = force_custom_plan")


async def _changed(connection: Connection, statement: str, *values: object) -> int:
    """How many rows ``statement`` has changed; whoever has some of them at hand is told."""
    row = await connection.fetchrow(statement, *values)
    assert row is not None
    if row[1]:
        await connection.execute("select pg_notify($1, '')", queue.CHANNEL)
    recipients: int = row[0]
    return recipients
