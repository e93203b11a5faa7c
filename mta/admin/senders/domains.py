"""Sender domains: add, verify in the DNS, vouch for, remove."""

from __future__ import annotations

from collections.abc import Sequence

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.admin.senders.domain_check import look_at_domain, read_key_ring
from mta.delivery.mx import Resolver
from mta.store.accounts.account_cache import DomainDetails
from policy.accounts.sender_domain import CheckResult, owner_name, owner_text


async def add(context: AdminContext, account: str, domain: str, *, vouch: str = "") -> DomainDetails:
    """Add a domain to an account. ``vouch``: why it is accepted without checks, if it is. Raises NotFound, Forbidden,
    AccountError, AddressError, StoreUnavailable."""
    if vouch:
        context.require_operator()
    owner = (await context.account(account)).account
    async with context.audited("domain.add", domain, account_id=owner.id, reason=vouch):
        await context.store.domains.add(owner.id, domain, by=context.actor.name)
        if vouch:
            await context.store.domains.vouch(owner.id, domain, by=context.actor.name, reason=vouch)
    return await find(context, account, domain)


async def remove(context: AdminContext, account: str, domain: str, *, reason: str = "") -> None:
    """Remove a domain from an account. Queued mail is still delivered. Raises NotFound, AccountError,
    StoreUnavailable."""
    await find(context, account, domain)
    owner = (await context.account(account)).account
    async with context.audited("domain.remove", domain, account_id=owner.id, reason=reason):
        await context.store.domains.remove(owner.id, domain, by=context.actor.name, reason=reason)


async def verify(
    context: AdminContext, account: str, domain: str, *, vouch: str = ""
) -> tuple[DomainDetails, Sequence[CheckResult]]:
    """Look the domain up in the DNS now. ``vouch``: why it is accepted whatever is found. Raises NotFound, Forbidden,
    ConfigError, AccountError, StoreUnavailable."""
    if vouch:
        context.require_operator()
    known, owner = await find(context, account, domain), (await context.account(account)).account
    settings, store = context.settings, context.store
    ring, resolver = await read_key_ring(settings, store), Resolver(settings)
    try:
        found = await look_at_domain(resolver, ring, known.domain, known.token, return_path=settings.return_path.domain)
    finally:
        await resolver.close()
    await store.domains.record(owner.id, known.domain, found, by="dns")
    if vouch:
        async with context.audited("domain.vouch", domain, account_id=owner.id, reason=vouch):
            await store.domains.vouch(owner.id, known.domain, by=context.actor.name, reason=vouch)
    return await find(context, account, domain), found


async def find(context: AdminContext, account: str, domain: str) -> DomainDetails:
    """Raises NotFound, StoreUnavailable."""
    details = await context.account(account)
    found = next((each for each in details.domains if each.domain == domain.lower()), None)
    if found is None:
        raise NotFound(f"{domain} is not a domain of {account}")
    return found


def proof_record(domain: DomainDetails) -> tuple[str, str]:
    """Return the name and text of the TXT record that proves the domain."""
    return owner_name(domain.domain), owner_text(domain.token)


def require_reason(skip: bool, reason: str) -> str:
    """Return why a domain is accepted without checks, "" if it is to be checked. Raises InvalidValue."""
    if skip and not reason.strip():
        raise InvalidValue("reason", "to accept a domain without checks needs a reason")
    return reason.strip() if skip else ""
