"""Suppressions: look up, list, add, lift.

Invariants: a suppression is lifted only with a reason, and never if the profile of a concerned account keeps it for
good. An account sees and changes those of its own scope only, and lifts neither what a recipient asked for nor what an
operator decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound, Refused
from mta.admin.permissions import Role
from mta.mail.address import Address
from mta.store.permission.suppressions import SuppressionKey, SuppressionRecord
from policy.accounts.account import AccountStatus
from policy.base import Suppression
from policy.permission.suppression import Reason

BY_ACCOUNT, BY_OPERATOR = "account", "operator"  # the rule of a suppression that was added by hand


@dataclass(frozen=True, slots=True)
class Added:
    """``is_new``: False if the address was suppressed with the same reason or a stronger one. ``cancelled``: queued
    copies."""

    is_new: bool
    cancelled: int


@dataclass(frozen=True, slots=True)
class Lifted:
    """What was lifted, and what still holds. ``needs_consent``: marketing needs a new consent."""

    suppression: Suppression
    others: Sequence[Suppression]
    needs_consent: bool


async def list_page(
    context: AdminContext,
    *,
    account: str | None = None,
    everywhere: bool = False,
    reason: Reason | None = None,
    before: SuppressionKey | None = None,
    limit: int = 100,
) -> list[tuple[SuppressionKey, Suppression]]:
    """Return the newest suppressions first. ``everywhere``: those that hold for all accounts; ``before``: the last one
    of the page before. Raises NotFound, InvalidValue, Forbidden, StoreUnavailable."""
    if account and everywhere:
        raise InvalidValue("account", "a suppression is for one account or for all of them, not both")
    if everywhere:
        context.require_operator()
    scope = 0 if everywhere else await context.account_filter(account)
    return await context.store.suppressions.page(scope, reason=reason, before=before, limit=limit)


async def find(context: AdminContext, address: Address) -> Sequence[SuppressionRecord]:
    """Return every suppression of an address that concerns the actor. Raises StoreUnavailable."""
    found = await context.store.suppressions.of(address)
    own = context.actor.account_id
    return [each for each in found if own is None or each.suppression.account_id in (None, own)]


async def add(
    context: AdminContext,
    address: Address,
    *,
    reason: str,
    code: Reason = Reason.MANUAL,
    account: str | None = None,
    topic: str = "",
    expires_at: datetime | None = None,
) -> Added:
    """Suppress an address and cancel queued copies to it. ``account`` None: for all accounts, if the actor is not of
    one. Raises InvalidValue, NotFound, StoreUnavailable."""
    if expires_at and code.permanent:
        raise InvalidValue("expires_at", f"a suppression for {code.value} never expires")
    scope = await context.account_filter(account)
    actor, store = context.actor, context.store
    rule = BY_ACCOUNT if actor.role is Role.ACCOUNT else BY_OPERATOR
    async with context.audited("suppression.add", address, account_id=scope, address=address, reason=reason) as entry:
        entry.after.update(topic=topic, reason_code=code.value, expires_at=expires_at)
        request = store.suppressions.act(
            scope,
            address,
            code,
            detail=reason,
            rule=rule,
            evidence=f"by {actor.name}",
            topic=topic,
            by=actor.name,
            expires_at=expires_at,
        )
        applied = await store.suppressions.apply([request])
        entry.after.update(is_new=bool(applied.changed), cancelled=applied.pulled)
    return Added(bool(applied.changed), applied.pulled)


async def lift(
    context: AdminContext,
    address: Address,
    *,
    reason: str,
    account: str | None = None,
    topic: str = "",
    dry_run: bool = False,
) -> Lifted:
    """Lift the suppression of an address in exactly this scope. Raises InvalidValue, NotFound, Refused, Forbidden,
    StoreUnavailable."""
    if not reason.strip():
        raise InvalidValue("reason", "why it may be mailed again must be said")
    scope = await context.account_filter(account)
    known = [each.suppression for each in await find(context, address)]
    meant = next((each for each in known if (each.account_id, each.topic) == (scope, topic)), None)
    others = [each for each in known if each is not meant]
    if meant is None:
        raise NotSuppressed(address, others)
    _require_own(context, meant)
    await require_liftable(context, meant.account_id, meant.reason)
    if not dry_run:
        by, because = context.actor.name, f"{reason.strip()} (by {context.actor.name})"
        async with context.audited(
            "suppression.lift", address, account_id=scope, address=address, reason=reason
        ) as row:
            row.before.update(reason_code=meant.reason.value, detail=meant.detail, since=meant.since, topic=topic)
            lifted = await context.store.suppressions.remove(scope, address, reason=because, topic=topic, by=by)
            if lifted is None:
                raise NotSuppressed(address, others)
    return Lifted(meant, others, meant.reason.withdraws)


class NotSuppressed(NotFound):
    """The address is not suppressed in this scope; ``others``: where it is."""

    def __init__(self, address: Address, others: Sequence[Suppression]) -> None:
        super().__init__(f"{address} is not suppressed in this scope" + ("; it is in another" if others else ""))
        self.others = others


def _require_own(context: AdminContext, suppression: Suppression) -> None:
    """Raises Forbidden if the actor may not decide about it."""
    if context.actor.role is Role.ACCOUNT and (suppression.reason.withdraws or suppression.rule == BY_OPERATOR):
        raise Forbidden("an account cannot lift what a recipient asked for or an operator decided: ask the operator")


async def require_liftable(context: AdminContext, account_id: int | None, reason: Reason) -> None:
    """Raises Refused if the profile of a concerned account keeps a suppression for ``reason`` for good.

    ``account_id`` None: it holds for all accounts, and the profile of any of them may keep it.
    """
    profiles = context.profiles()
    for account in (each.account for each in await context.store.accounts.list()):
        if account.status is AccountStatus.TERMINATED or account_id not in (None, account.id):
            continue
        if profiles.get(account.profile).suppressions.forbids(reason):
            raise Refused(
                f'profile "{account.profile}" of account {account.name} keeps a suppression for {reason.value} for '
                'good ([suppressions] after_unsubscribe = "never")'
            )
