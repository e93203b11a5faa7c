"""Accounts and their life: make, complete, review, approve, suspend, resume, terminate.

Invariants: no account changes its status without a record of who did it and why. What can be refused is refused before
an account is made.
Limitations: an account and its first credential are two transactions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, Refused
from mta.admin.senders import credentials
from mta.admin.senders.credentials import NewLogin
from mta.delivery.egress.pools import SourcePools
from mta.mail.address import Address
from mta.store.accounts.account_cache import AccountDetails
from mta.store.accounts.account_status import StatusChanged
from mta.store.accounts.reviews import Setting
from mta.store.journal.account_changes import AccountChange
from mta.store.queue.queue import QueueFilter
from policy.accounts.account import AccountStatus, Identity, StatusChange, Stream, after
from policy.accounts.review import Lack, lacks
from policy.profile import UnknownProfile

WIDEST = {4: 8, 6: 32}  # shortest prefixes of client networks: 10.0.0.0/8, an organisation's IPv6 allocation
NEEDS_REASON = (StatusChange.REQUEST_CHANGES, StatusChange.SUSPEND, StatusChange.TERMINATE)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """``approve``: why it is approved at once, None: it is to be reviewed. ``verified``: its domains are accepted
    without checks."""

    name: str
    domains: Sequence[str]
    networks: Sequence[str] = ()
    profile: str | None = None
    bounce_notifications: str = "dsn"
    username: str | None = None
    approve: str | None = None
    verified: bool = False


async def list_all(context: AdminContext) -> Sequence[AccountDetails]:
    """Return the accounts that the actor may see, by name. Raises StoreUnavailable."""
    found = await context.store.accounts.list()
    own = context.actor.account_id
    return [each for each in found if own in (None, each.account.id)]


async def add(context: AdminContext, new: NewAccount) -> tuple[AccountDetails, NewLogin]:
    """Make an account with its first credential. Raises InvalidValue, AccountError, StoreUnavailable."""
    if not new.domains:
        raise InvalidValue("domains", "an account needs a domain that it may send for")
    networks = [parse_network(text) for text in new.networks]
    profile = new.profile or context.settings.policy.default_profile
    require_profile(context, profile)
    known = await context.store.accounts.list()
    if new.username is not None and new.username in credentials.used_names(known):
        raise Refused(f"the user name {new.username!r} was used before; user names are never reused")
    async with context.audited("account.add", new.name, reason=new.approve or "") as entry:
        entry.after.update(domains=list(new.domains), networks=list(map(str, networks)), profile=profile)
        account = await context.store.accounts.add(
            new.name,
            domains=new.domains,
            networks=networks,
            bounce_notifications=new.bounce_notifications,
            profile=profile,
            status=AccountStatus.PENDING if new.approve is None else AccountStatus.ACTIVE,
            verified=new.verified,
            by=context.actor.name,
            reason=new.approve or "",
        )
        entry.account_id = account.id
        login = await credentials.create(context, await context.account(new.name), new.username)
        entry.after.update(username=login.username)
    return await context.account(new.name), login


async def change_settings(context: AdminContext, name: str, changed: Mapping[Setting, Any]) -> AccountDetails:
    """Change settings that differ; None for a quota lifts it. Raises InvalidValue, NotFound, AccountError,
    StoreUnavailable."""
    details = await context.account(name)
    changed = {setting: value for setting, value in changed.items() if value != _setting(details, setting)}
    if not changed:
        return details
    if (profile := changed.get(Setting.PROFILE)) is not None:
        require_profile(context, profile)
    if (pool := changed.get(Setting.POOL)) is not None:
        known = SourcePools(context.settings.egress).names
        if pool not in known:
            raise InvalidValue("pool", f"there is no pool {pool!r} in [egress]; available: {', '.join(known)}")
    async with context.audited("account.set", name, account_id=details.account.id) as entry:
        entry.before.update({setting.value: _setting(details, setting) for setting in changed})
        entry.after.update({setting.value: value for setting, value in changed.items()})
        await context.store.reviews.set(details.account.id, changed, by=context.actor.name)
    return await context.account(name)


async def change_status(
    context: AdminContext, name: str, change: StatusChange, *, reason: str = "", case: str = "", dry_run: bool = False
) -> StatusChanged:
    """Change the status. Raises InvalidValue, NotFound, StatusChangeRefused, AccountError, StoreUnavailable."""
    account = (await context.account(name)).account
    if change in NEEDS_REASON and not reason.strip():
        raise InvalidValue("reason", f"to {change.value.replace('_', ' ')} an account needs a reason")
    if dry_run:
        status = after(account.status, change)
        held = QueueFilter(account_id=account.id)
        return StatusChanged(status, (await context.store.queue.bounce(held, reason, dry_run=True)).recipients, 0)
    async with context.audited(f"account.{change.value}", name, account_id=account.id, reason=reason) as entry:
        entry.before.update(status=account.status.value)
        done = await context.store.account_status.move(
            account.id, change, by=context.actor.name, reason=reason, case=case
        )
        entry.after.update(status=done.status.value, recipients=done.recipients)
    return done


async def missing(context: AdminContext, name: str) -> Sequence[Lack]:
    """Return what an account lacks for a review, as far as the store knows. Raises NotFound, StoreUnavailable."""
    details = await context.account(name)
    try:
        marketing: bool | None = context.profiles().chain(details.account.profile, Stream.MARKETING) is not None
    except UnknownProfile:
        marketing = None
    return lacks(
        details.account,
        may_submit=bool(details.networks) or any(login.revoked_at is None for login in details.credentials),
        marketing=marketing,
        terms=context.settings.policy.terms.version,
        sources=[source.name for source in details.sources],
    )


async def submit_for_review(context: AdminContext, name: str, *, force: bool = False) -> StatusChanged:
    """Submit an account for review, once everything that a reviewer needs is there. Raises Refused, NotFound,
    StatusChangeRefused, StoreUnavailable."""
    found = await missing(context, name)
    if found and not force:
        lines = "; ".join(f"{lack.text}: {lack.remedy}" for lack in found)
        raise Refused(f"{name} is not ready for review: {lines}")
    return await change_status(context, name, StatusChange.REVIEW)


async def history(context: AdminContext, name: str, limit: int) -> Sequence[AccountChange]:
    """Return who changed what of an account, the newest first. Raises NotFound, StoreUnavailable."""
    account = (await context.account(name)).account
    return list(reversed(await context.store.accounts.history(account.id, limit)))


# --- what a reviewer goes by


async def accept_terms(context: AdminContext, name: str, version: str, *, person: str) -> None:
    """``person`` accepts this version of the terms for the account. Raises InvalidValue, NotFound, AccountError,
    StoreUnavailable."""
    account = (await context.account(name)).account
    current = context.settings.policy.terms.version
    if version != current:
        raise InvalidValue("version", f"the terms in force are version {current!r}, not {version!r}")
    async with context.audited("account.terms", name, account_id=account.id) as entry:
        entry.after.update(version=version, person=person)
        await context.store.reviews.accept_terms(account.id, version, person=person, by=context.actor.name)


async def set_identity(context: AdminContext, name: str, identity: Identity) -> None:
    """Register who stands behind the account, in one language. Raises NotFound, AccountError, StoreUnavailable."""
    account = (await context.account(name)).account
    async with context.audited("account.identity", name, account_id=account.id) as entry:
        entry.after.update(language=identity.language, names=list(identity.names))
        await context.store.reviews.set_identity(account.id, identity, by=context.actor.name)


async def remove_identity(context: AdminContext, name: str, language: str, *, reason: str = "") -> None:
    """Raises NotFound, AccountError, StoreUnavailable."""
    account = (await context.account(name)).account
    async with context.audited("account.identity.remove", name, account_id=account.id, reason=reason) as entry:
        entry.before.update(language=language)
        await context.store.reviews.remove_identity(account.id, language, by=context.actor.name, reason=reason)


async def set_role_exceptions(
    context: AdminContext, name: str, roles: Sequence[Address], *, reason: str = ""
) -> AccountDetails:
    """Set the role addresses that may get its transactional mail all the same. Raises NotFound, AccountError,
    StoreUnavailable."""
    account = (await context.account(name)).account
    async with context.audited("account.roles", name, account_id=account.id, reason=reason) as entry:
        entry.before.update(roles=sorted(account.role_exceptions))
        entry.after.update(roles=sorted(map(str, roles)))
        await context.store.reviews.set_roles(account.id, roles, by=context.actor.name, reason=reason)
    return await context.account(name)


# --- the lists that it mails


async def add_list(context: AdminContext, name: str, list_name: str, origin: str) -> None:
    """Record where a list comes from; changing it requires a new approval. Raises NotFound, AccountError,
    StoreUnavailable."""
    account = (await context.account(name)).account
    async with context.audited("list.add", list_name, account_id=account.id) as entry:
        entry.after.update(origin=origin)
        await context.store.reviews.add_source(account.id, list_name, origin, by=context.actor.name)


async def approve_list(context: AdminContext, name: str, list_name: str) -> str:
    """A reviewer believes where a list comes from; return its origin. Raises Forbidden, NotFound, AccountError,
    StoreUnavailable."""
    context.require_operator()
    account = (await context.account(name)).account
    async with context.audited("list.approve", list_name, account_id=account.id) as entry:
        origin = await context.store.reviews.approve_source(account.id, list_name, by=context.actor.name)
        entry.after.update(origin=origin)
    return origin


# --- client networks


async def add_network(context: AdminContext, name: str, network: str) -> None:
    """Let clients in a network submit for an account without logging in. Raises InvalidValue, NotFound, AccountError,
    StoreUnavailable."""
    account, parsed = (await context.account(name)).account, parse_network(network)
    async with context.audited("account.network.add", parsed, account_id=account.id):
        await context.store.accounts.add_network(account.id, parsed, by=context.actor.name)


async def remove_network(context: AdminContext, name: str, network: str, *, reason: str = "") -> None:
    """Require clients in this network to log in again. Raises InvalidValue, NotFound, AccountError,
    StoreUnavailable."""
    account, parsed = (await context.account(name)).account, parse_network(network)
    async with context.audited("account.network.remove", parsed, account_id=account.id, reason=reason):
        await context.store.accounts.remove_network(account.id, parsed, by=context.actor.name, reason=reason)


def parse_network(text: str) -> IPv4Network | IPv6Network:
    """Return a network, or one address, no wider than one organisation's. Raises InvalidValue."""
    try:
        network = ip_network(text)
    except ValueError as error:
        raise InvalidValue("network", f"{error}; a network is written as 10.1.2.0/24 or 2001:db8::/48") from None
    if network.prefixlen < WIDEST[network.version]:
        raise InvalidValue("network", f"{network} is too wide: strangers could send without logging in")
    return network


def require_profile(context: AdminContext, name: str) -> None:
    """Raises InvalidValue."""
    known = context.profiles().names
    if name not in known:
        raise InvalidValue("profile", f"there is no profile {name!r}; available: {', '.join(known)}")


def _setting(details: AccountDetails, setting: Setting) -> object:
    account = details.account
    match setting:
        case Setting.QUOTA_DAY:
            return account.quotas.day
        case Setting.QUOTA_MONTH:
            return account.quotas.month
        case _:
            return getattr(account, setting.value)
