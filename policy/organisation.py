"""Which organisation a domain belongs to: the part that was registered, by the public suffix list (RFC 7489 3.2).

It must never take a public suffix itself for an organisation, nor a name under no known suffix.

*Limits.* The list is the one that comes with the package ``publicsuffixlist``: as new as that.
"""

from __future__ import annotations

from functools import lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


@lru_cache(16384)
def organisation(domain: str) -> str | None:
    """The registered domain of ``domain`` (lower-case A-labels), ``example.co.uk``; None if there can be none."""
    found: str | None = _suffixes().privatesuffix(domain)
    return found
