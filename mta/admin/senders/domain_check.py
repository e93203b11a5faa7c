"""Look a sender domain up in the DNS: its proof, SPF, DKIM, DMARC and MX.

``policy.accounts.sender_domain`` judges what is found, ``mta.store.accounts.domains`` stores it.
"""

from __future__ import annotations

import asyncio

from config.schema import Settings
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.dkim import KeyRing
from mta.dkim.keys import SigningKey, read_key_files
from mta.dkim.records import compare, record_name
from mta.mail.reply import Reply
from mta.store.store import Store
from policy.accounts import dmarc, spf
from policy.accounts.sender_domain import (
    CheckResult,
    DomainProblem,
    DomainRecords,
    Selector,
    Texts,
    consent_name,
    judge,
    owner_name,
)
from policy.organisation import organisation as organisation_of

MAX_REPORTS_TO = 10  # domains outside that are asked whether they take DMARC reports
LOOP = "5.4.6"  # status of a route that leads back to this machine


async def read_key_ring(settings: Settings, store: Store) -> KeyRing:
    """Return the current signing keys, of files and of the store. Raises ConfigError, StoreUnavailable."""
    ring = KeyRing(read_key_files(settings.signing, settings.server.user))
    ring.replace_stored(await store.dkim_keys.list())
    return ring


async def look_at_domain(
    resolver: Resolver, ring: KeyRing, domain: str, token: str, *, return_path: str | None = None
) -> tuple[CheckResult, ...]:
    """Look up and judge one domain (lower-case A-labels). A DNS error is a result, not an exception.

    ``return_path``: the domain of our envelope senders, None if they are the sender's own.
    """
    owner, (texts, included), selectors, (policy, consents), unreachable = await asyncio.gather(
        _texts(resolver, owner_name(domain)),
        _spf(resolver, domain),
        _selectors(resolver, ring.of(domain)),
        _dmarc(resolver, domain),
        _unreachable(resolver, domain),
    )
    found = DomainRecords(owner, texts, selectors, policy, unreachable, included, consents, return_path)
    return judge(domain, token, found)


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
        found.append(Selector(record_name(key), broken, key.warning() or ""))
    return tuple(found)


async def _spf(resolver: Resolver, domain: str) -> tuple[Texts, dict[str, Texts]]:
    """Return the domain's TXT records, and those of all that its SPF record includes, up to the limit of RFC 7208."""
    found = await _texts(resolver, domain)
    included: dict[str, Texts] = {}
    following = _follows(domain, found)
    while following and len(included) <= spf.MAX_LOOKUPS:
        texts = await asyncio.gather(*(_texts(resolver, name) for name in following))
        included |= dict(zip(following, texts, strict=True))
        deeper = [name for known in following for name in _follows(known, included[known])]
        following = [name for name in dict.fromkeys(deeper) if name not in included and name != domain]
    return found, included


def _follows(owner: str, found: Texts) -> list[str]:
    """Return the names whose records the one SPF record among ``found`` includes."""
    records = [] if isinstance(found, DomainProblem) else [text for text in found if spf.is_record(text)]
    if len(records) != 1:
        return []
    names = [term.follows for term in spf.read(records[0], owner).counted]
    return [name for name in names if name and name != owner][: spf.MAX_LOOKUPS]


async def _dmarc(resolver: Resolver, domain: str) -> tuple[tuple[str, Texts], dict[str, Texts]]:
    """Return the name and texts of the nearest policy, and what its report addresses outside say to that."""
    place, texts = await _policy(resolver, domain)
    records = [] if isinstance(texts, DomainProblem) else [text for text in texts if dmarc.is_record(text)]
    hosts = dmarc.read(records[0]).reports_to[:MAX_REPORTS_TO] if len(records) == 1 else ()
    outside = [host for host in hosts if dmarc.is_outside(host, place)]
    said = await asyncio.gather(*(_texts(resolver, consent_name(place, host)) for host in outside))
    return (place, texts), dict(zip(outside, said, strict=True))


async def _policy(resolver: Resolver, domain: str) -> tuple[str, Texts]:
    """Return the name and texts of the domain's record, else of its organisation's (RFC 7489 6.6.3)."""
    place = f"_dmarc.{domain}"
    texts = await _texts(resolver, place)
    organisation = organisation_of(domain) or ".".join(domain.split(".")[-2:])  # its public suffix is unknown
    if isinstance(texts, DomainProblem) or organisation == domain:
        return place, texts
    if dmarc.missed(texts) or any(map(dmarc.is_record, texts)):
        return place, texts
    place = f"_dmarc.{organisation}"
    return place, await _texts(resolver, place)


async def _unreachable(resolver: Resolver, domain: str) -> str | DomainProblem | None:
    """Return why the domain cannot receive mail; None if it can. Mail hosts on this machine are taken to accept it."""
    route = await resolver.route(domain)
    if not isinstance(route, Reply) or route.status == LOOP:
        return None
    return route.text if route.code >= 500 else DomainProblem(route.text)
