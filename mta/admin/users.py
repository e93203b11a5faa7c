"""The people who log in to the pages: add, list, reset, disable, and one-time links.

Invariants: a link is shown once, to who asked for it; the store has its digest only. Who makes one has all the rights
that it gives. The last operator is not disabled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound, Refused
from mta.admin.permissions import Role
from mta.store.accounts.web_users import WebUser
from mta.store.journal.account_changes import AccountError

LINK_LASTS = timedelta(minutes=30)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,62}[a-z0-9])?")


async def add(context: AdminContext, name: str, role: Role, *, account: str | None = None) -> WebUser:
    """Add a user, who then logs in by a link. Raises InvalidValue, NotFound, AccountError, StoreUnavailable."""
    context.require_operator()
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        raise InvalidValue("name", "a user's name is 1 to 64 of a-z 0-9 . _ @ + -, with a letter or digit at both ends")
    _require_rights_of(context, role)
    if (role is Role.ACCOUNT) != bool(account):
        raise InvalidValue("account", "a user of the role account needs the name of the account, others have none")
    account_id = (await context.account(account)).account.id if account else None
    async with context.audited("user.add", name, account_id=account_id) as entry:
        entry.after.update(role=role.value, account=account)
        return await context.store.web_users.add(name, role=role.value, account_id=account_id, by=context.actor.name)


async def list_all(context: AdminContext, *, account: str | None = None) -> Sequence[WebUser]:
    """Return users by name. Raises NotFound, StoreUnavailable."""
    return await context.store.web_users.list(await context.account_filter(account))


async def get(context: AdminContext, name: str) -> WebUser:
    """Raises NotFound, StoreUnavailable."""
    try:
        user = await context.store.web_users.by_name(name.strip().lower())
    except AccountError as error:
        raise NotFound(str(error)) from None
    if context.actor.account_id not in (None, user.account_id):
        raise NotFound(f"there is no user {name!r}")
    return user


async def link(context: AdminContext, name: str, *, lifetime: timedelta = LINK_LASTS) -> str:
    """Return the token of a new one-time link. Raises NotFound, Refused, StoreUnavailable."""
    context.require_operator()
    user = await get(context, name)
    _require_rights_of(context, Role(user.role))
    if user.disabled_at:
        raise Refused(f"{user.name} is disabled: enable the user first")
    async with context.audited("user.link", user.name, account_id=user.account_id):
        return await context.store.web_sessions.add_link(user.id, lifetime)


async def reset(context: AdminContext, name: str, *, reason: str = "") -> WebUser:
    """Forget password, code and passkeys of a user, and end their sessions. Raises NotFound, StoreUnavailable."""
    context.require_operator()
    user = await get(context, name)
    _require_rights_of(context, Role(user.role))
    async with context.audited("user.reset", user.name, account_id=user.account_id, reason=reason) as entry:
        entry.before.update(password=user.has_password, passkeys=user.passkeys)
        await context.store.web_users.reset(user.id)
    return user


async def disable(context: AdminContext, name: str, *, reason: str = "") -> WebUser:
    """Let a user in no more, and end their sessions. Raises NotFound, Refused, StoreUnavailable."""
    context.require_operator()
    user = await get(context, name)
    if user.disabled_at:
        raise Refused(f"{user.name} is disabled already")
    others = [each for each in await context.store.web_users.list() if each.id != user.id and not each.disabled_at]
    if user.role == Role.OPERATOR.value and not any(each.role == Role.OPERATOR.value for each in others):
        raise Refused(f"{user.name} is the last operator who can log in: add another first")
    async with context.audited("user.disable", user.name, account_id=user.account_id, reason=reason):
        await context.store.web_users.set_disabled(user.id, disabled=True)
    return user


async def enable(context: AdminContext, name: str) -> WebUser:
    """Let a disabled user in again. Raises NotFound, Refused, StoreUnavailable."""
    context.require_operator()
    user = await get(context, name)
    if not user.disabled_at:
        raise Refused(f"{user.name} is not disabled")
    async with context.audited("user.enable", user.name, account_id=user.account_id):
        await context.store.web_users.set_disabled(user.id, disabled=False)
    return user


def _require_rights_of(context: AdminContext, role: Role) -> None:
    """Raises Forbidden if the actor would make someone who may do more."""
    if excess := sorted(role.scopes - context.actor.scopes):
        raise Forbidden(f"a user of the role {role.value} has the scope {excess[0]}, which the caller lacks")
