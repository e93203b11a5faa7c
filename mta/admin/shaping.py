"""Shaping actions: list, begin a pause, cancel.

Invariants: only operators see and change them: they are about mail of all accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import configured
from mta.mail.address import AddressError, parse_domain
from mta.mail.shaping_action import OPERATOR, ActionScope, Effect, NewAction, ShapingAction
from mta.store.reputation.shaping_actions import ActionError, CancelledActions

LONGEST = timedelta(days=30)
MOST = 10_000  # actions in force
SUSPEND = "suspend"  # the name of a pause by hand
REROUTE = "reroute"  # and of another pool


@dataclass(frozen=True, slots=True)
class ActionDetails:
    """``waiting``: queued recipients that an action has put off."""

    action: ShapingAction
    waiting: int


async def list_actions(context: AdminContext, *, ended: bool = False, limit: int = 100) -> Sequence[ShapingAction]:
    """Return the newest first. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    return await context.store.shaping_actions.list(ended=ended, limit=limit)


async def find(context: AdminContext, name: str) -> list[ActionDetails]:
    """Return the action with this number, or those in force of the rule with this name, the newest first.

    Raises Forbidden, NotFound, StoreUnavailable.
    """
    context.require_operator()
    try:
        found = await context.store.shaping_actions.find(name)
    except ActionError as error:
        raise NotFound(str(error)) from None
    return [ActionDetails(each, await context.store.shaping_actions.waiting(each)) for each in found]


async def suspensions(context: AdminContext, scope: ActionScope | None = None) -> list[ActionDetails]:
    """Return the pauses by operators in force: of exactly this scope, or all. Raises Forbidden, StoreUnavailable."""
    now = datetime.now(UTC)
    return [
        ActionDetails(each, await context.store.shaping_actions.waiting(each))
        for each in await list_actions(context, limit=MOST)
        if each.rule == OPERATOR and each.effect is Effect.PAUSE and each.in_force(now) and scope in (None, each.scope)
    ]


async def pause(context: AdminContext, scope: ActionScope, *, span: timedelta, reason: str) -> ShapingAction:
    """Send nothing of a scope for a while, mail that comes later included.

    Raises Forbidden, InvalidValue, Refused if it is suspended already, StoreUnavailable.
    """
    new = NewAction(SUSPEND, scope, Effect.PAUSE, reason.strip(), context.actor.name, span.total_seconds())
    return await _begin(context, new, "shaping.pause", f"{scope} is suspended already, by an action in force")


async def reroute(
    context: AdminContext, scope: ActionScope, pool: str, *, span: timedelta, reason: str
) -> ShapingAction:
    """Let mail of a scope leave from another pool for a while, mail that comes later included.

    Raises Forbidden, InvalidValue, Refused if it is rerouted already, StoreUnavailable.
    """
    known = SourcePools(context.settings.egress).names
    if pool not in known:
        raise InvalidValue("pool", f"there is no pool {pool!r}; there are {', '.join(known)}")
    seconds = span.total_seconds()
    new = NewAction(REROUTE, scope, Effect.POOL, reason.strip(), context.actor.name, seconds, pool=pool)
    return await _begin(context, new, "shaping.reroute", f"{scope} is rerouted already, by an action in force")


async def _begin(context: AdminContext, new: NewAction, action_name: str, refusal: str) -> ShapingAction:
    context.require_operator()
    new = replace(new, scope=await _known_scope(context, new.scope))
    scope = new.scope
    if not new.reason:
        raise InvalidValue("reason", "say why: the reason is kept, and shown to other operators")
    if not 0 < new.seconds <= LONGEST.total_seconds():
        raise InvalidValue("span", "the end must lie in the future, at most 30 days from now")
    async with context.audited(action_name, scope, account_id=scope.account_id, reason=new.reason) as entry:
        action = await context.store.shaping_actions.begin(new)
        if action is None:
            raise Refused(refusal)
        entry.after.update(id=action.id, expires_at=action.expires_at, pool=new.pool)
    return action


async def _known_scope(context: AdminContext, scope: ActionScope) -> ActionScope:
    """Return a scope in the spelling of queued mail, so that it fits some. Raises InvalidValue, StoreUnavailable."""
    if scope == ActionScope():
        raise InvalidValue("scope", "say which mail: a source, site, domain, account or mailing")
    names = [each.name for each in configured(context.settings.egress)]
    if scope.source not in (None, *names):
        raise InvalidValue("source", f"there is no source {scope.source!r}; there are {', '.join(names)}")
    if scope.mailing is not None and await context.store.mailings.show(scope.mailing) is None:
        raise InvalidValue("mailing", f"there is no mailing with the id {scope.mailing[:100]!r}")
    try:
        return replace(scope, domain=parse_domain(scope.domain) if scope.domain is not None else None)
    except AddressError as error:
        raise InvalidValue("domain", f"{(scope.domain or '')[:100]!r}: {error}") from None


async def cancel(context: AdminContext, found: Sequence[ActionDetails], *, reason: str) -> CancelledActions:
    """End actions before their time; mail that waits for them is due at once.

    Raises Forbidden, InvalidValue, ActionError, StoreUnavailable.
    """
    context.require_operator()
    if not reason.strip():
        raise InvalidValue("reason", "say why: the reason is kept, and shown to other operators")
    actions = [each.action for each in found]
    async with context.audited("shaping.cancel", " ".join(str(each.id) for each in actions), reason=reason) as entry:
        entry.before.update(
            actions=[{"name": each.name, "scope": each.scope.fields, "until": each.expires_at} for each in actions]
        )
        done = await context.store.shaping_actions.cancel(actions, by=context.actor.name, reason=reason.strip())
        entry.after.update(cancelled=[each.id for each in done.actions], due=done.due)
    return done
