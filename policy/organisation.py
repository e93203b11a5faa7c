"""The organisational domain of a domain, by the public suffix list (RFC 7489 3.2).

Invariants: a public suffix is never an organisation, nor is a name under an unknown suffix.

Limitations: the list is that of the package ``publicsuffixlist``, and as old as the package.
"""

from __future__ import annotations

from functools import lru_cache

from publicsuffixlist import PublicSuffixList


@lru_cache(1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


# RFC 6761, 6762, 7686, 8375, 9476 and ICANN's for private use; a resolver inside may know them.
_SPECIAL = frozenset(("alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"))


def is_known_suffix(name: str) -> bool:
    """Whether ``name`` is a top-level domain, or another public suffix, that exists or is reserved."""
    return name.lower() in _SPECIAL or _suffixes().publicsuffix(name.lower()) == name.lower()


@lru_cache(16384)
def organisation(domain: str) -> str | None:
    """The registered domain of ``domain`` (lower-case A-labels), ``example.co.uk``; None if there can be none."""
    found: str | None = _suffixes().privatesuffix(domain)
    return found
