"""Breakers: list, show, reset.

Invariants: only operators and the abuse desk see and reset them, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.mail.identity import MessageId, format_id
from mta.store.reputation.breakers import Cancelled, Tripped


@dataclass(frozen=True, slots=True)
class BreakerStory:
    """A breaker, its trips with the newest first, and how many recipients it holds now."""

    trips: Sequence[Tripped]
    held: int

    @property
    def newest(self) -> Tripped:
        return self.trips[0]


async def list_trips(context: AdminContext, *, cancelled: bool = False, limit: int = 100) -> Sequence[Tripped]:
    """Return the newest first. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    return await context.store.breakers.list(cancelled=cancelled, limit=limit)


async def story(context: AdminContext, name: str) -> BreakerStory:
    """Raises Forbidden, NotFound, StoreUnavailable."""
    context.require_operator()
    trips = await context.store.breakers.history(name)
    if not trips:
        raise NotFound(f"there is no breaker {name!r}")
    held = await context.store.breakers.held(trips[0]) if trips[0].cancelled_at is None else 0
    return BreakerStory(trips, held)


async def cancel(context: AdminContext, name: str, *, reason: str, dry_run: bool = False) -> Cancelled:
    """Reset a breaker, release what it holds.

    Raises Forbidden, InvalidValue, NotFound, Refused, BreakerError, StoreUnavailable.
    """
    context.require_operator()
    if not reason.strip():
        raise InvalidValue("reason", "say why its mail may be sent now: the reason is kept")
    known = await story(context, name)
    newest = known.newest
    if dry_run:
        if newest.cancelled_at is not None:
            raise Refused(f"breaker {name} is not open: it was cancelled by {newest.cancelled_by}")
        return Cancelled(known.held, None)
    account_id = newest.scope.account_id
    async with context.audited("breaker.cancel", name, account_id=account_id, reason=reason) as entry:
        entry.before.update(words=newest.words, tripped_at=newest.tripped_at)
        done = await context.store.breakers.cancel(name, by=context.actor.name, reason=reason.strip())
        entry.after.update(released=done.released)
    return done


async def record_trap_hit(context: AdminContext, message_id: MessageId) -> None:
    """Count a spam trap hit that a blocklist operator or provider has reported. Raises Forbidden, NotFound,
    StoreUnavailable."""
    context.require_operator()
    async with context.audited("breaker.trap_hit", format_id(message_id)):
        if not await context.store.breakers.trap(message_id):
            raise NotFound(f"there is no record of message {format_id(message_id)}")
