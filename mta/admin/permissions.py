"""Who may do what: roles, and the scopes that a token has.

A scope is ``noun:read`` or ``noun:write``. A role has scopes; a token has all of its role's or some. What an account
may do, it may do with what is its own only: ``mta.admin.context.AdminContext`` sees to that.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

Scope = str

NOUNS: Final = (
    "accounts",
    "audit",
    "blocklists",
    "breakers",
    "complaints",
    "consents",
    "credentials",
    "domains",
    "events",
    "jobs",
    "keys",
    "lists",
    "mailings",
    "messages",
    "privacy",
    "queue",
    "service",
    "shaping",
    "sign-up-forms",
    "suppressions",
    "takedowns",
    "terms",
    "tokens",
    "users",
    "webhooks",
)
ALL_SCOPES: Final = frozenset(f"{noun}:{verb}" for noun in NOUNS for verb in ("read", "write"))


class Role(Enum):
    """Of a person or a token."""

    OPERATOR = "operator"  # everything
    ABUSE_DESK = "abuse_desk"  # reads most; complaints, suppressions, takedowns, queued mail, mailings, breakers
    ACCOUNT = "account"  # what belongs to one account

    @property
    def scopes(self) -> frozenset[Scope]:
        return _SCOPES[self]


def _scopes(text: str) -> frozenset[Scope]:
    """Read ``noun`` for both verbs, ``noun:read`` for one."""
    found: set[Scope] = set()
    for word in text.split():
        found |= {word} if ":" in word else {f"{word}:read", f"{word}:write"}
    assert found <= ALL_SCOPES, found - ALL_SCOPES
    return frozenset(found)


_SCOPES: Final = {
    Role.OPERATOR: ALL_SCOPES,
    Role.ABUSE_DESK: _scopes(
        "accounts:read audit:read blocklists:read breakers complaints consents:read domains:read events:read jobs:read"
        " keys:read lists:read mailings messages:read queue service:read shaping:read sign-up-forms:read suppressions"
        " takedowns"
    ),
    Role.ACCOUNT: _scopes(
        "accounts:read complaints consents credentials domains events:read jobs:read keys:read lists mailings messages"
        " queue service:read sign-up-forms suppressions terms webhooks"
    ),
}
