"""Who reports a complaint, proved: a DKIM signature of the domain in the From field, or the operator's word for it.

It must never believe a report because of the address it came from, or a name that anybody may write.

*Limits.* A domain that cannot be looked up now is asked for again with the next try of the report.
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


async def proved(content: bytes, resolver: Resolver, trusted: Collection[str]) -> str | None:
    """The domain that the report in ``content`` comes from; None if it is not proved. Raises DnsError.

    ``trusted``: domains (and all below) that are believed without a signature.
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
    """Of one organisation (RFC 7489 3.1.1, relaxed)."""
    return signer == author or (organisation(author) is not None and organisation(signer) == organisation(author))
