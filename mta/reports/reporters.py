"""Verify who sent a report: a DKIM signature aligned with its From domain, or a domain that the operator trusts.

Invariants: A report is never believed because of a client address or a name in its header.

Limitations: If the DNS does not answer, the report is retried later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from mta.delivery.mx import Resolver
from mta.dkim.verifier import signatures, verify
from mta.mail.address import AddressError
from mta.mail.headers import HeaderError, Headers
from mta.mail.mailbox import parse_mailbox
from policy.organisation import organisation


async def verified_author(content: bytes, resolver: Resolver, trusted: Collection[str]) -> str | None:
    """Return the From domain of ``content`` if it is verified, else None. Raises DnsError.

    ``trusted``: domains that are believed without a signature, with all their subdomains.
    """
    try:
        headers = Headers.split(content)
        if headers.count(b"from") != 1:
            return None
        domain = parse_mailbox(headers.value(b"from") or "").domain
    except (HeaderError, AddressError):
        return None
    if any(domain == name or domain.endswith(f".{name}") for name in trusted):
        return domain
    for signature in signatures(headers):
        if not _aligned(signature.domain, domain):
            continue
        for record in await resolver.txt(signature.record):
            if await asyncio.to_thread(verify, content, signature, record):
                return domain
    return None


def _aligned(signer: str, author: str) -> bool:
    """Return whether both belong to one organisation (RFC 7489 3.1.1, relaxed)."""
    return signer == author or (organisation(author) is not None and organisation(signer) == organisation(author))
