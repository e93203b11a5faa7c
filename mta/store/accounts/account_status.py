"""Change the status of accounts, each time with who, when and why, and with the effect on the account's queue.

A suspension holds what is queued, a resumption ends just these holds, a termination makes it fail and ends all
credentials: each in the transaction that changes the status, after which every worker is told.

Invariants: an account does not become active while a complaint case stands in the way. What fails does so with its
event and its DSN.

Limitations: a delivery on the wire is not stopped. A change over a million recipients is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from mta.mail.hold import Hold, HoldSource
from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountChangeKind, AccountError, Changes, lock, note
from mta.store.postgres.database import Connection
from mta.store.queue import holds, queue
from mta.store.queue.holds import QueueChange, of_account
from policy.accounts.account import AccountStatus, StatusChange, StatusChangeRefused, after, suspension_hold

_EXPLAINED = (StatusChange.REQUEST_CHANGES, StatusChange.SUSPEND, StatusChange.TERMINATE)  # moves that need a reason
_LONGEST = 300  # characters of a reason

_IN_THE_WAY = "select min(id) from complaint_case where account_id = $1 and state = 'suspended'"

_END_CREDENTIALS = """
update credential set revoked_at = now() where account_id = $1 and coalesce(revoked_at > now(), true)"""


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """``recipients``: queued ones that were held, released or made to fail; ``still_held``: how many of the released
    ones have other holds."""

    status: AccountStatus
    recipients: int = 0
    still_held: int = 0


class AccountStatuses:
    """Made by ``Store``."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def move(
        self, account_id: int, move: StatusChange, *, by: str, reason: str = "", case: str = ""
    ) -> StatusChanged:
        """Change the status. ``case``: the complaint case behind it. Raises AccountError, StoreUnavailable."""
        return await self._changes.change(
            lambda connection: change_status(connection, account_id, move, by=by, reason=reason, case=case),
            seconds=queue.SECONDS,
        )


async def change_status(
    connection: Connection, account_id: int, move: StatusChange, *, by: str, reason: str = "", case: str = ""
) -> StatusChanged:
    """Do the same within the caller's transaction (of ``Accounts.change``, so that all processes are told)."""
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
    queued = await _change_queue(connection, account_id, move, suspension_hold(name, reason, case), reason)
    data = {"from": before.value, "to": reached.value, "move": move.value, "reason": reason, "case": case}
    await note(connection, account_id, by, AccountChangeKind.STATUS, data | {"recipients": queued.recipients})
    return StatusChanged(reached, queued.recipients, queued.still_held)


async def fail_queue(connection: Connection, account_id: int, reason: str) -> int:
    """Make everything fail that the account has queued; return how many recipients. In the caller's transaction."""
    await holds.plan_for_many(connection)
    return (await holds.bounce(connection, of_account(account_id), reason)).recipients


async def _change_queue(
    connection: Connection, account_id: int, move: StatusChange, hold: Hold, reason: str
) -> QueueChange:
    """Do to the account's queue what the change of its status asks for."""
    scope = of_account(account_id)
    await holds.plan_for_many(connection)
    match move:
        case StatusChange.SUSPEND:
            return await holds.hold(connection, scope, hold)
        case StatusChange.RESUME | StatusChange.APPROVE:
            return await holds.release(connection, scope, [HoldSource.ACCOUNT_STATUS], reason)
        case StatusChange.TERMINATE:
            await connection.execute(_END_CREDENTIALS, account_id)
            return await holds.bounce(connection, scope, f"the account is terminated: {reason}")
        case StatusChange.REVIEW | StatusChange.REQUEST_CHANGES:
            return QueueChange()
        case _:
            assert_never(move)
