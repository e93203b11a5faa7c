"""Looking sender domains up in the DNS, when somebody asks and again every day.

What is found is judged by ``policy.accounts.sender_domain`` and kept by ``mta.store.accounts.domains``: a domain that
is proved and fit becomes
usable by itself, minutes after its records were published.

It must never ask for one domain on two machines at a time, and never let one domain's trouble keep the others waiting.

*Limits.* At most BATCH domains in one round, so that thousands of them do not all ask at once.
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
LOOP = "5.4.6"  # the status of a plan that leads to ourselves


async def open_ring(settings: Settings, store: Store) -> KeyRing:
    """The keys that sign now, in files and in the store. Raises ConfigError, StoreUnavailable."""
    ring = KeyRing(read_key_files(settings.signing, settings.server.user))
    ring.replace_stored(await store.dkim_keys.list())
    return ring


async def look(resolver: Resolver, ring: KeyRing, domain: str, token: str) -> tuple[CheckResult, ...]:
    """What the DNS says of a domain (lower-case A-labels), judged. Never raises for the DNS's sake."""
    owner, spf, selectors, dmarc, deaf = await asyncio.gather(
        _texts(resolver, owner_name(domain)),
        _texts(resolver, domain),
        _selectors(resolver, ring.of(domain)),
        _dmarc(resolver, domain),
        _deaf(resolver, domain),
    )
    return judge(domain, token, DomainRecords(owner, spf, selectors, dmarc, deaf))


async def look_again(settings: Settings, store: Store, resolver: Resolver) -> None:
    """Look for the domains whose turn it is. Raises StoreUnavailable."""
    claimed = await store.domains.claim(BATCH)
    if not claimed:
        return
    try:
        ring = await open_ring(settings, store)
    except ConfigError as error:
        log.error("sender domains are not looked up: the DKIM keys cannot be read", mistakes=error.lines)
        return
    judged = await asyncio.gather(*(look(resolver, ring, each.domain, each.token) for each in claimed))
    for each, found in zip(claimed, judged, strict=True):
        try:
            await store.domains.record(each.account_id, each.domain, found, by="dns")
        except AccountError:
            pass  # it was removed meanwhile


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
    """The domain's own record, else that of its organisation (RFC 7489 6.6.3)."""
    place = f"_dmarc.{domain}"
    texts = await _texts(resolver, place)
    organisation = organisation_of(domain) or ".".join(domain.split(".")[-2:])  # under a suffix that nobody knows
    if isinstance(texts, DomainProblem) or texts or organisation == domain:
        return place, texts
    place = f"_dmarc.{organisation}"
    return place, await _texts(resolver, place)


async def _deaf(resolver: Resolver, domain: str) -> str | DomainProblem | None:
    """Why nobody takes its mail. Mail hosts on this very machine are taken to listen: who but they could say?"""
    route = await resolver.route(domain)
    if not isinstance(route, Reply) or route.status == LOOP:
        return None
    return route.text if route.code >= 500 else DomainProblem(route.text)
