"""Whether a received mail was signed by the domain that it claims to be from (RFC 6376).

dkimpy verifies; the caller looks up the key records before.

Invariants: a signature does not count if it leaves a part of the mail open (``l=``), or does not cover the From field.
Limitations: ``x=`` and ``t=`` are left to dkimpy. Only the first SIGNATURES count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.hosts import dkim_record_name
from mta.mail.headers import Headers, unfold

SIGNATURES = 5

_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*([^;]*?)\s*(?:;|\Z)")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\Z")


@dataclass(frozen=True, slots=True)
class Signature:
    """``place``: its number among the mail's DKIM-Signature fields. ``record``: the name of its key's TXT record."""

    place: int
    domain: str
    record: str


def signatures(headers: Headers) -> list[Signature]:
    """Return the signatures that may count, by their form."""
    found = []
    for place, value in enumerate(headers.all(b"dkim-signature")[:SIGNATURES]):
        tags = {match[1].lower(): match[2] for match in _TAG.finditer(unfold(value))}
        domain, selector = tags.get("d", "").lower(), tags.get("s", "").lower()
        signed = {name.strip().lower() for name in tags.get("h", "").split(":")}
        if "l" in tags or "from" not in signed or not _NAME.match(domain) or not _NAME.match(selector):
            continue
        found.append(Signature(place, domain, dkim_record_name(selector, domain)))
    return found


def verify(content: bytes, signature: Signature, record: str) -> bool:
    """Return whether ``signature`` of ``content`` (CRLF line ends) is valid by the key in ``record``. Never raises."""
    # Not at the import of this module: most processes verify nothing, and what dkimpy imports takes 1 MiB of each.
    import dkim  # noqa: PLC0415

    try:
        good: bool = dkim.DKIM(content).verify(signature.place, dnsfunc=lambda name, timeout=5: record.encode())
    except Exception:  # dkimpy raises many errors for what a stranger may have written
        return False
    return good
