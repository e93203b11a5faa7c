"""Findings in imported lists: signs that a list was not collected by its owner.

Invariants: an account sees its own findings, without the name of another account; only an operator dismisses one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.observe.log import get_logger
from mta.store.permission.address_lists import ListFindingError, RecordedFinding
from mta.store.store import Store
from policy.profile import Handling

log = get_logger()


async def list_all(
    context: AdminContext, account: str | None = None, *, dismissed: bool = False, limit: int = 100
) -> Sequence[RecordedFinding]:
    """Return findings, the newest first. ``dismissed``: those too. Raises NotFound, StoreUnavailable."""
    owner = await context.account_filter(account)
    found = await context.store.address_lists.list(owner, every=dismissed, limit=limit)
    return found if context.actor.account_id is None else [replace(each, other=None) for each in found]


async def check(store: Store, profiles: Mapping[str, Handling]) -> list[RecordedFinding]:
    """Judge the lists that changed; log and return what is new. Raises StoreUnavailable."""
    found = await store.address_lists.check({name: profile.lists for name, profile in profiles.items()})
    for each in found:
        log.warning(
            "list flagged",
            finding=each.id,
            account=each.account,
            sign=each.sign.value,
            found=each.text,
            other=each.other,
        )
    return found


async def dismiss(context: AdminContext, number: int, *, reason: str) -> None:
    """Record that a finding is settled after a look at the list: mailings of the account no longer wait for it.

    Raises Forbidden, InvalidValue, NotFound, StoreUnavailable.
    """
    context.require_operator()
    if not reason.strip():
        raise InvalidValue("reason", "say what the look at the list has shown")
    async with context.audited("list_finding.dismiss", number, reason=reason):
        try:
            await context.store.address_lists.dismiss(number, by=context.actor.name, reason=reason)
        except ListFindingError as error:
            raise NotFound(str(error)) from None
