"""Ask this machine and the DNS about a source."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from config.schema import Settings
from mta.delivery.egress.local_address import bind_fault
from mta.delivery.egress.source_checks import Answers, LookupFailed, SourceFacts, is_private
from mta.delivery.egress.sources import EgressSource
from mta.delivery.egress.spf_verdict import SpfLookupError, check_host
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError

MAX_NAMES = 5  # of one address that are looked up


def missing(source: EgressSource) -> str | None:
    """Return why no socket can be bound to the source's address; None if one can. What a proxy has is not known."""
    return None if source.proxy is not None or source.address is None else bind_fault(source.address)


async def look_up(settings: Settings, resolver: Resolver, source: EgressSource) -> SourceFacts:
    """Return what this machine and the DNS say of a source with an address. Raises NotAsked."""
    assert source.address is not None
    address, ehlo = source.address, source.ehlo or settings.egress.ehlo or settings.server.hostname
    if is_private(address):
        return SourceFacts(address, ehlo, missing(source))
    kind, domain = "AAAA" if ":" in address else "A", settings.return_path.domain
    names = await _records(resolver, ip_address(address).reverse_pointer, "PTR")
    asked = {ehlo.lower(): None, **dict.fromkeys(() if isinstance(names, LookupFailed) else names[:MAX_NAMES])}
    found = await asyncio.gather(*(_records(resolver, name, kind) for name in asked))
    return SourceFacts(
        address,
        ehlo.lower(),
        missing(source),
        names,
        dict(zip(asked, found, strict=True)),
        domain,
        await check_host(_Asked(resolver).records, address, domain) if domain else None,
    )


async def _records(resolver: Resolver, name: str, kind: str) -> Answers:
    try:
        return await resolver.records(name, kind)
    except DnsError as error:
        return LookupFailed(str(error))


class _Asked:
    """The look-ups of an SPF check."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def records(self, name: str, kind: str) -> Sequence[str]:
        try:
            return await self._resolver.records(name, kind)
        except DnsError as error:
            raise SpfLookupError(str(error)) from error
