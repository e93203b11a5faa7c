"""Verify sender domains in the DNS: on request, and again every day.

``policy.accounts.sender_domain`` judges what is found, ``mta.store.accounts.domains`` stores it. A domain becomes
usable by itself, minutes after its records were published.

Invariants: a domain is verified on one machine at a time. DNS errors of one domain do not delay the others.

Limitations: at most BATCH domains a round, so that thousands of them are not queried at once.
"""

from __future__ import annotations

import asyncio

from config.schema import Settings
from config.toml import ConfigError
from mta.delivery.mx import DnsError, Resolver
from mta.dkim import KeyRing
from mta.dkim.keys import SigningKey, read_key_files
from mta.dkim.records import compare, record_name
from mta.mail.reply import Reply
from mta.observe.log import get_logger
from mta.store.journal.account_changes import AccountError
from mta.store.store import Store
from policy.accounts.sender_domain import (
    CheckResult,
    DomainProblem,
    DomainRecords,
    Selector,
    Texts,
    judge,
    owner_name,
)
from policy.organisation import organisation as organisation_of

log = get_logger()

BATCH = 20
LOOP = "5.4.6"  # status of a route that leads back to this machine


async def open_ring(settings: Settings, store: Store) -> KeyRing:
    """Return the current signing keys, of files and of the store. Raises ConfigError, StoreUnavailable."""
    ring = KeyRing(read_key_files(settings.signing, settings.server.user))
    ring.replace_stored(await store.dkim_keys.list())
    return ring


async def look(resolver: Resolver, ring: KeyRing, domain: str, token: str) -> tuple[CheckResult, ...]:
    """Look up and judge one domain (lower-case A-labels). A DNS error is a result, not an exception."""
    owner, spf, selectors, dmarc, unreachable = await asyncio.gather(
        _texts(resolver, owner_name(domain)),
        _texts(resolver, domain),
        _selectors(resolver, ring.of(domain)),
        _dmarc(resolver, domain),
        _unreachable(resolver, domain),
    )
    return judge(domain, token, DomainRecords(owner, spf, selectors, dmarc, unreachable))


async def verify_due(settings: Settings, store: Store, resolver: Resolver) -> None:
    """Verify the domains that are due. Raises StoreUnavailable."""
    claimed = await store.domains.claim(BATCH)
    if not claimed:
        return
    try:
        ring = await open_ring(settings, store)
    except ConfigError as error:
        log.error("sender domains not verified: unreadable DKIM keys", mistakes=error.lines)
        return
    judged = await asyncio.gather(*(look(resolver, ring, each.domain, each.token) for each in claimed))
    for each, found in zip(claimed, judged, strict=True):
        try:
            await store.domains.record(each.account_id, each.domain, found, by="dns")
        except AccountError:
            pass  # removed meanwhile


async def _texts(resolver: Resolver, name: str) -> Texts:
    try:
        return await resolver.txt(name)
    except DnsError as error:
        return DomainProblem(str(error))


async def _selectors(resolver: Resolver, keys: tuple[SigningKey, ...]) -> tuple[Selector, ...] | DomainProblem:
    found = []
    for key in keys:
        texts = await _texts(resolver, record_name(key))
        if isinstance(texts, DomainProblem):
            return texts
        broken = tuple(each.text for each in compare(key, texts) if each.kind.breaks)
        found.append(Selector(record_name(key), broken))
    return tuple(found)


async def _dmarc(resolver: Resolver, domain: str) -> tuple[str, Texts]:
    """Return the name and texts of the domain's record, else of its organisation's (RFC 7489 6.6.3)."""
    place = f"_dmarc.{domain}"
    texts = await _texts(resolver, place)
    organisation = organisation_of(domain) or ".".join(domain.split(".")[-2:])  # its public suffix is unknown
    if isinstance(texts, DomainProblem) or texts or organisation == domain:
        return place, texts
    place = f"_dmarc.{organisation}"
    return place, await _texts(resolver, place)


async def _unreachable(resolver: Resolver, domain: str) -> str | DomainProblem | None:
    """Return why the domain cannot receive mail; None if it can. Mail hosts on this machine are taken to accept it."""
    route = await resolver.route(domain)
    if not isinstance(route, Reply) or route.status == LOOP:
        return None
    return route.text if route.code >= 500 else DomainProblem(route.text)
