"""Credentials: how an account logs in, and what each login may do.

Invariants: a secret is shown once, when it is made; only what verifies it is kept. Transactional mail of an account
with a marketing profile is granted after a review, whose purpose and reason are recorded.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound
from mta.smtp_server.auth.authenticator import make_verifiers, new_secret
from mta.store.accounts.account_cache import AccountDetails, CredentialDetails
from mta.store.accounts.credentials import fields as grant_fields
from policy.accounts.account import Account, Grant, Stream

MAX_OVERLAP = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A new credential; the secret is nowhere else. ``argon2`` and ``scram`` verify it."""

    username: str
    secret: str = field(repr=False)
    argon2: str = field(repr=False)
    scram: str = field(repr=False)


async def add(
    context: AdminContext, account: str, username: str | None = None, grant: Grant | None = None, *, reason: str = ""
) -> NewLogin:
    """Make another credential. Raises InvalidValue, NotFound, Forbidden, AccountError, StoreUnavailable."""
    details = await context.account(account)
    require_review(context, grant or Grant(), details.account, reason)
    async with context.audited("credential.add", username or "", account_id=details.account.id, reason=reason) as entry:
        login = await create(context, details, username, grant, reason=reason)
        entry.after.update(username=login.username, **grant_fields(grant or Grant()))
    return login


async def create(
    context: AdminContext,
    details: AccountDetails,
    username: str | None,
    grant: Grant | None = None,
    *,
    reason: str = "",
) -> NewLogin:
    """Make a credential within a change that has its own row in the audit. Raises AccountError, StoreUnavailable."""
    login = await new_login(username or free_username(details, await context.store.accounts.list()))
    await context.store.credentials.add(
        details.account.id,
        login.username,
        argon2=login.argon2,
        scram=login.scram,
        grant=grant,
        by=context.actor.name,
        reason=reason,
    )
    return login


async def set_grant(context: AdminContext, username: str, grant: Grant, *, reason: str = "") -> None:
    """Replace what a credential may do. Raises InvalidValue, NotFound, Forbidden, AccountError, StoreUnavailable."""
    owner, known = await find(context, username)
    require_review(context, grant, owner.account, reason)
    async with context.audited("credential.scope", username, account_id=owner.account.id, reason=reason) as entry:
        entry.before.update(grant_fields(known.grant))
        entry.after.update(grant_fields(grant))
        await context.store.credentials.set_grant(username, grant, by=context.actor.name, reason=reason)


async def rotate(
    context: AdminContext, username: str, *, overlap: timedelta, new_name: str | None = None
) -> tuple[NewLogin, datetime]:
    """Replace a credential by a new one with the same scope; return it, and when the old one ends. Raises InvalidValue,
    NotFound, AccountError, StoreUnavailable."""
    if not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidValue("overlap", f"the old credential works on for at most {MAX_OVERLAP.days} days")
    owner, _ = await find(context, username)
    login = await new_login(new_name or free_username(owner, await context.store.accounts.list()))
    async with context.audited("credential.rotate", username, account_id=owner.account.id) as entry:
        until = await context.store.credentials.rotate(
            username, login.username, argon2=login.argon2, scram=login.scram, overlap=overlap, by=context.actor.name
        )
        entry.after.update(username=login.username, until=until)
    return login, until


async def revoke(context: AdminContext, username: str, *, reason: str = "") -> None:
    """Revoke a credential immediately, live sessions included. Raises NotFound, AccountError, StoreUnavailable."""
    owner, _ = await find(context, username)
    async with context.audited("credential.revoke", username, account_id=owner.account.id, reason=reason):
        await context.store.credentials.revoke(username, by=context.actor.name, reason=reason)


async def find(context: AdminContext, username: str) -> tuple[AccountDetails, CredentialDetails]:
    """Return a credential that was not revoked, with its account. Raises NotFound, StoreUnavailable."""
    own = context.actor.account_id
    for owner in await context.store.accounts.list():
        if own not in (None, owner.account.id):
            continue
        for each in owner.credentials:
            if each.username == username and is_valid(each):
                return owner, each
    raise NotFound(f"there is no credential {username!r}, or it was revoked before")


def require_review(context: AdminContext, grant: Grant, account: Account, reason: str) -> None:
    """Raises InvalidValue if a sign is allowed without a reason, or transactional mail is granted beside marketing
    without saying for what; Forbidden if an account would grant itself either."""
    if grant.signs and not reason:
        raise InvalidValue("reason", "a sign is allowed for a reason")
    transactional = grant.streams is not None and Stream.TRANSACTIONAL in grant.streams
    marketing = Stream.MARKETING in (context.profiles().settled(account.profile, Grant()).streams or ())
    is_granted = transactional and marketing
    if is_granted and not (grant.purposes and reason):
        raise InvalidValue(
            "purposes",
            f"{account.name} has the marketing profile {account.profile}; transactional mail is granted there after a "
            'review: say what for, with a sample subject ("order: Your order *"), and why',
        )
    if context.actor.account_id is not None and (is_granted or grant.signs):
        raise Forbidden("this is granted by an operator after a review")


async def new_login(username: str) -> NewLogin:
    """Return a login with a new secret."""
    secret = new_secret()
    return NewLogin(username, secret, *await asyncio.to_thread(make_verifiers, secret))


def free_username(details: AccountDetails, known: Iterable[AccountDetails]) -> str:
    """Return the account's name without odd characters, with a number if it was used before."""
    used = used_names(known)
    base = re.sub(r"[^A-Za-z0-9._@-]+", "-", details.account.name).strip("-") or "account"
    numbered = (f"{base}-{number}" for number in range(2, len(used) + 3))
    return next(name for name in (base, *numbered) if name not in used)


def used_names(known: Iterable[AccountDetails]) -> set[str]:
    """Return the user names that were ever given."""
    return {credential.username for each in known for credential in each.credentials}


def is_valid(credential: CredentialDetails) -> bool:
    """Whether a credential can still be used."""
    return credential.revoked_at is None or credential.revoked_at > datetime.now(UTC)
