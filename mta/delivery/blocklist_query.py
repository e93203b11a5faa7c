"""Ask DNS blocklists (RFC 5782), and whether they are to be trusted.

Invariants: a DNS error is an answer, not an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from policy.reputation.blocklist import DnsList, Said, Trust, Unanswered, proofs, question, read, trust


@dataclass(frozen=True, slots=True)
class BlocklistAnswer:
    """The answer of a list, valid for ``ttl`` seconds."""

    said: Said
    ttl: float


async def ask(resolver: Resolver, blocklist: DnsList, subject: str) -> BlocklistAnswer:
    """Query ``blocklist`` for ``subject``."""
    try:
        addresses, ttl = await resolver.addresses(question(subject, blocklist))
    except DnsError as error:
        return BlocklistAnswer(Unanswered(str(error)), 0.0)
    return BlocklistAnswer(read(addresses, blocklist), ttl)


async def reason(resolver: Resolver, blocklist: DnsList, subject: str) -> str:
    """Return the reason that the list gives (RFC 5782 2.1); empty without one."""
    try:
        return " ".join(await resolver.txt(question(subject, blocklist)))
    except DnsError:
        return ""


async def examine(resolver: Resolver, blocklist: DnsList) -> tuple[Trust, float]:
    """Query the test entries of a list. Return whether it is to be trusted, and for how many seconds."""
    must, must_not = [await ask(resolver, blocklist, subject) for subject in proofs(blocklist)]
    return trust(must.said, must_not.said, blocklist), min(must.ttl, must_not.ttl)
