"""The takedown list: hosts and addresses that no message may link to.

Invariants: each one has a reason and a name, and stays on record when it is removed.
"""

from __future__ import annotations

from collections.abc import Sequence

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from policy.reputation.takedown import Takedown, parse_takedown
from policy.text.link_targets import LinkTarget

MOST = 10_000  # links in one change


async def list_all(context: AdminContext, *, removed: bool = False, limit: int = 100) -> Sequence[Takedown]:
    """Return what was taken down, the newest first. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    return await context.store.takedowns.list(removed=removed, limit=limit)


def parse(text: str) -> LinkTarget:
    """Return the host or address that is meant. Raises InvalidValue."""
    try:
        return parse_takedown(text)
    except ValueError as error:
        raise InvalidValue("links", str(error)) from None


async def add(context: AdminContext, links: Sequence[LinkTarget], *, reason: str) -> int:
    """Refuse messages that link there from now on; return how many of ``links`` are new. Raises Forbidden,
    InvalidValue, StoreUnavailable."""
    context.require_operator()
    reason = _required(reason)
    if not 0 < len(links) <= MOST:
        raise InvalidValue("links", f"name hosts or addresses, at most {MOST} at once")
    async with context.audited("takedown.add", _shortened(links), reason=reason) as entry:
        added = await context.store.takedowns.add(links, reason=reason, by=context.actor.name)
        entry.after.update(links=[str(each) for each in links], added=added)
    return added


async def remove(context: AdminContext, link: LinkTarget, *, reason: str) -> None:
    """Allow links there again. Raises Forbidden, InvalidValue, NotFound, StoreUnavailable."""
    context.require_operator()
    reason = _required(reason)
    async with context.audited("takedown.remove", link, reason=reason):
        if not await context.store.takedowns.remove(link, reason=reason, by=context.actor.name):
            raise NotFound(f"{link} was not taken down (mta takedown list)")


def _required(reason: str) -> str:
    if not reason.strip():
        raise InvalidValue("reason", "say why: the reason is kept, and shown to other operators")
    return reason.strip()


def _shortened(links: Sequence[LinkTarget]) -> str:
    return str(links[0]) if len(links) == 1 else f"{links[0]} and {len(links) - 1} more"
