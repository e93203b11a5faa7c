"""Tokens of the API: make, list, revoke.

Invariants: a token is shown once, when it is made. No one makes a token that may do more than they may.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound
from mta.admin.permissions import ALL_SCOPES, Role, Scope
from mta.store.accounts.api_tokens import ApiToken
from mta.store.journal.account_changes import AccountError

PREFIX = "imp_"  # so that a token can be recognised where it does not belong


async def add(
    context: AdminContext,
    name: str,
    role: Role,
    *,
    account: str | None = None,
    scopes: Sequence[Scope] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """Make a token; return it and its secret text. ``scopes`` None: all that the role may do.

    Raises InvalidValue, Forbidden, NotFound, AccountError, StoreUnavailable.
    """
    if not name or len(name) > 64 or not name.isprintable() or name != name.strip():
        raise InvalidValue("name", f"{name!r}: a token's name is 1 to 64 printable characters")
    if (role is Role.ACCOUNT) != bool(account):
        raise InvalidValue("account", "a token of the role account needs the name of its account, others have none")
    wanted = role.scopes if scopes is None else frozenset(scopes)
    if unknown := sorted(wanted - ALL_SCOPES):
        raise InvalidValue("scopes", f"there is no scope {unknown[0]!r}")
    if excess := sorted(wanted - role.scopes):
        raise InvalidValue("scopes", f"the role {role.value} cannot have the scope {excess[0]!r}")
    if excess := sorted(wanted - context.actor.scopes):
        raise Forbidden(f"a token cannot be given the scope {excess[0]!r} by one that lacks it")
    account_id = (await context.account(account)).account.id if account else None
    text = PREFIX + secrets.token_urlsafe(32)
    async with context.audited("token.add", name, account_id=account_id) as entry:
        given = None if scopes is None else sorted(wanted)
        entry.after.update(role=role.value, scopes=given, expires_at=expires_at)
        token = await context.store.api_tokens.add(
            name,
            text,
            role=role.value,
            account_id=account_id,
            scopes=given,
            by=context.actor.name,
            expires_at=expires_at,
        )
    return token, text


async def list_page(
    context: AdminContext, *, account: str | None = None, after: int = 0, limit: int = 100
) -> list[ApiToken]:
    """Return tokens in the order in which they were made. Raises NotFound, StoreUnavailable."""
    account_id = await context.account_filter(account)
    return await context.store.api_tokens.list(account_id, after=after, limit=limit)


async def get(context: AdminContext, name: str) -> ApiToken:
    """Raises NotFound, StoreUnavailable."""
    try:
        token = await context.store.api_tokens.by_name(name)
    except AccountError as error:
        raise NotFound(str(error)) from None
    if context.actor.account_id not in (None, token.account_id):
        raise NotFound(f"there is no token {name!r}")
    return token


async def revoke(context: AdminContext, name: str, *, reason: str = "") -> None:
    """End a token now. Raises NotFound, AccountError if it was revoked before, StoreUnavailable."""
    token = await get(context, name)
    async with context.audited("token.revoke", name, account_id=token.account_id, reason=reason):
        await context.store.api_tokens.revoke(name)
