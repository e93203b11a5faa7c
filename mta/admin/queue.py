"""The queue: count, list and search it; retry, hold, release and bounce what is in it.

Invariants: a change never means the whole queue by accident: a filter that is everything must be asked for. An account
sees its own mail only, and may give it up; it cannot end what an operator or a rule decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import Enum
from typing import Any, assert_never

from mta.admin import backoffs
from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue
from mta.mail.address import Address, AddressError, parse_domain
from mta.mail.identity import MessageId, format_id
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import By, Group, Queue, QueueEntry, QueueFilter

SHOWN = 20  # messages in a description


class QueueAction(Enum):
    """What can be done with queued recipients."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    BOUNCE = "bounce"

    @property
    def result(self) -> str:
        """What recipients are then."""
        return {"retry": "due now", "hold": "held", "release": "released", "bounce": "bounced"}[self.value]


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """``backoffs``: how many were ended."""

    change: QueueChange
    backoffs: int = 0


def own(context: AdminContext, which: QueueFilter) -> QueueFilter:
    """Return the filter, confined to the actor's account."""
    account_id = context.actor.account_id
    return which if account_id is None else replace(which, account_id=account_id)


async def read_filter(context: AdminContext, typed: QueueFilter, account: str | None) -> QueueFilter:
    """Return a filter as it was typed in the spelling of the queue, for ``account`` or all that the actor may see.

    Raises InvalidValue, NotFound, StoreUnavailable.
    """
    return replace(
        typed,
        account_id=await context.account_filter(account),
        destination=_read("destination", parse_domain, typed.destination),
        address=_read("recipient", _address, typed.address),
    )


def _read(name: str, parse: Callable[[str], str], text: str | None) -> str | None:
    try:
        return parse(text) if text else None
    except AddressError as error:
        raise InvalidValue(name, f"{(text or '')[:100]!r}: {error}") from None


def _address(text: str) -> str:
    return str(Address.parse(text))


async def summary(
    context: AdminContext, by: By, which: QueueFilter | None = None, limit: int | None = None
) -> Sequence[Group]:
    """Return counts, the largest first. Raises StoreUnavailable."""
    return await context.store.queue.summary(by, own(context, which or QueueFilter()), limit)


async def entries(
    context: AdminContext, which: QueueFilter, *, after: tuple[MessageId, int] | None = None, limit: int = 100
) -> Sequence[QueueEntry]:
    """Return queued recipients, the oldest message first. Raises StoreUnavailable."""
    return await context.store.queue.list(own(context, which), after=after, limit=limit)


async def change(
    context: AdminContext,
    action: QueueAction,
    which: QueueFilter,
    *,
    reason: str = "",
    everything: bool = False,
    dry_run: bool = False,
) -> QueueChanged:
    """Change queued recipients, all or none, or count them. ``everything``: the whole queue may be meant.

    Raises InvalidValue, Forbidden, StoreUnavailable.
    """
    if which.is_everything and not everything:
        raise InvalidValue(
            "filter",
            "no recipients are selected: name a message, a destination, an account or more, or say all (--all)",
        )
    if context.actor.account_id is not None and action is not QueueAction.BOUNCE:
        raise Forbidden("only an operator can do this; you can bounce your own mail, or stop its mailing")
    which = own(context, which)
    queue = context.store.queue
    if dry_run:
        return QueueChanged(await _make(queue, action, which, "", dry_run=True))
    why = f"{reason.strip() or 'by hand'} ({context.actor.name})"
    subject = described(which)
    async with context.audited(f"queue.{action.value}", subject, account_id=which.account_id, reason=reason) as entry:
        ended = 0
        if action is QueueAction.RETRY:  # first: what is due is claimed at once
            ended = await backoffs.end(context.settings, context.store, which)
        made = await _make(queue, action, which, why, dry_run=False)
        entry.after.update(recipients=made.recipients, leased=made.leased, backoffs_ended=ended)
    return QueueChanged(made, ended)


async def put_off(
    context: AdminContext,
    which: QueueFilter,
    until: datetime,
    *,
    reason: str,
    dry_run: bool = False,
) -> QueueChange:
    """Let queued mail wait until a time. Raises InvalidValue, Forbidden, StoreUnavailable."""
    context.require_operator()
    if which.is_everything:
        raise InvalidValue("filter", "no recipients are selected: name a message, a destination, an account or more")
    queue = context.store.queue
    if dry_run:
        return await queue.put_off(which, until, dry_run=True)
    async with context.audited("queue.put_off", described(which), account_id=which.account_id, reason=reason) as entry:
        changed = await queue.put_off(which, until)
        entry.after.update(until=until, recipients=changed.recipients)
    return changed


async def _make(queue: Queue, action: QueueAction, which: QueueFilter, why: str, *, dry_run: bool) -> QueueChange:
    match action:
        case QueueAction.RETRY:
            return await queue.retry(which, dry_run=dry_run)
        case QueueAction.HOLD:
            return await queue.hold(which, why, dry_run=dry_run)
        case QueueAction.RELEASE:
            return await queue.release(which, why, dry_run=dry_run)
        case QueueAction.BOUNCE:
            return await queue.bounce(which, why, dry_run=dry_run)
        case _:
            assert_never(action)


def described(which: QueueFilter) -> str:
    """Return a filter in words."""
    given = {each.name: getattr(which, each.name) for each in fields(QueueFilter)}
    words = [f"{key} {_value(value)}" for key, value in given.items() if value not in (None, ())]
    return ", ".join(words) or "the whole queue"


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        shown = " ".join(map(format_id, value[:SHOWN]))
        return shown if len(value) <= SHOWN else f"{shown} and {len(value) - SHOWN} more"
    return str(value.value if isinstance(value, Enum) else value)
