"""Sender domains: add, verify in the DNS, vouch for, remove."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from config.toml import ConfigError
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound
from mta.admin.senders.domain_check import look_at_domain, read_key_ring
from mta.delivery.mx import Resolver
from mta.store.accounts.account_cache import AccountDetails, DomainDetails
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
    known, owner = await find(context, account, domain), await context.account(account)
    found = (await _look(context, owner, [known]))[known.domain]
    if vouch:
        async with context.audited("domain.vouch", domain, account_id=owner.account.id, reason=vouch):
            await context.store.domains.vouch(owner.account.id, known.domain, by=context.actor.name, reason=vouch)
    return await find(context, account, domain), found


async def verify_all(context: AdminContext, account: str) -> Mapping[str, Sequence[CheckResult]]:
    """Look all domains of an account up in the DNS now. Raises NotFound, ConfigError, StoreUnavailable."""
    owner = await context.account(account)
    return await _look(context, owner, owner.domains)


async def _look(
    context: AdminContext, owner: AccountDetails, domains: Sequence[DomainDetails]
) -> Mapping[str, Sequence[CheckResult]]:
    """Look domains up, and record what is found, which may verify them or end that."""
    settings, store, number = context.settings, context.store, owner.account.id
    ring, resolver = await read_key_ring(settings, store), Resolver(settings)

    async def look(known: DomainDetails) -> Sequence[CheckResult]:
        async with context.audited("domain.verify", known.domain, account_id=number) as entry:
            found = await look_at_domain(
                resolver, ring, known.domain, known.token, return_path=settings.return_path.domain
            )
            await store.domains.record(number, known.domain, found, by="dns")
            entry.after.update({each.subject.value: each.mark.value for each in found})
        return found

    try:
        results = await asyncio.gather(*map(look, domains))
    finally:
        await resolver.close()
    await store.accounts.refresh()  # what was found is shown next
    return {known.domain: found for known, found in zip(domains, results, strict=True)}


async def without_key(context: AdminContext, domains: Sequence[str]) -> list[str]:
    """Return those of ``domains`` that no DKIM key signs for, none if the keys cannot be read. Raises
    StoreUnavailable."""
    try:
        ring = await read_key_ring(context.settings, context.store)
    except ConfigError:
        return []  # `mta check` and `mta dkim` report it
    return [domain for domain in domains if not ring.of(domain.lower())]


async def find(context: AdminContext, account: str, domain: str) -> DomainDetails:
    """Raises NotFound, StoreUnavailable."""
    details = await context.account(account)
    found = next((each for each in details.domains if each.domain == domain.lower()), None)
    if found is None:
        raise NotFound(f"{domain} is not a domain of {account}; add it with `mta account domain add`")
    return found


def proof_record(domain: DomainDetails) -> tuple[str, str]:
    """Return the name and text of the TXT record that proves the domain."""
    return owner_name(domain.domain), owner_text(domain.token)


def require_reason(skip: bool, reason: str) -> str:
    """Return why a domain is accepted without checks, "" if it is to be checked. Raises InvalidValue."""
    if skip and not reason.strip():
        raise InvalidValue("reason", "to accept a domain without checks needs a reason")
    return reason.strip() if skip else ""
