"""Role address: marketing mail goes to people, not to role accounts.

``sales@`` and ``abuse@`` are read by changing staff who agreed to nothing, and spam traps often have such names. The
list is ``config/defaults/role_addresses.toml``, by language; every published policy asks for this rule.

An account can be given exceptions, as complete addresses; they apply to transactional mail only (a department that
ordered something expects its invoice).

Invariants: no spelling lets a role through: case, accents, quotes, sub-addresses (``info+news``) and invisible
characters make no difference.

Limitations: names must match as a whole: ``info-nl`` and ``sales2`` are not found. Dots count: ``s.ales`` may be a
person. Only five languages are known; ``also`` adds names.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Literal

from pydantic import Field

from config.types import Section
from mta.mail.address import Address
from mta.mail.reply import Reply
from policy.accounts.account import Stream
from policy.base import Facts, Pass, RecipientFacts, Refuse, Verdict
from policy.permission.role_names import role_name
from policy.rule_context import RuleContext
from policy.wordlists import shipped, spellings

Language = Literal["nl", "de", "fr", "es", "en"]

LANGUAGES: tuple[Language, ...] = ("nl", "de", "fr", "es", "en")


class RoleAddress:
    name = "role_address"

    class Settings(Section):
        """Which local parts are roles."""

        languages: list[Language] = Field(default_factory=lambda: list(LANGUAGES))
        """Languages whose names count; those of RFC 2142 always do."""
        also: list[str] = Field(default_factory=list)
        """Further names, as in `config/defaults/role_addresses.toml`."""
        allowed: list[str] = Field(default_factory=list)
        """Names that are not roles."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._roles = _roles(tuple(settings.languages), tuple(settings.also), tuple(settings.allowed))

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        address = recipient.address
        role = role_name(address)
        if role not in self._roles:
            return Pass(), f"{address} is no role"
        if facts.stream is Stream.TRANSACTIONAL and excepted(address, facts.account.role_exceptions):
            return Pass(), f"{address} is a role, allowed to account {facts.account.name} for transactional mail"
        text = (
            f"role_address: <{address}> is a role ({role}), not a person who can have agreed to this mail; "
            "use the address of a person, or remove it from your list"
        )
        return Refuse(Reply(550, "5.7.1", text)), ""


@lru_cache(16)
def _roles(languages: tuple[Language, ...], also: tuple[str, ...], allowed: tuple[str, ...]) -> frozenset[str]:
    groups = shipped("role_addresses")
    names = [*groups["standards"], *(name for language in languages for name in groups[language])]
    return frozenset(spellings([*names, *also])) - frozenset(spellings(allowed))


def excepted(address: Address, exceptions: frozenset[str]) -> bool:
    return address.key in exceptions or address.key in {exception.casefold() for exception in exceptions}
