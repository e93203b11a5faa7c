"""Freemail: mail from a freemail provider's domain comes from the provider's servers, or is treated as forged.

Gmail, Yahoo, AOL and others ask receivers by DMARC to reject or quarantine mail in their names from elsewhere
(support.google.com/mail/answer/81126). The list is ``config/defaults/freemail.toml``.

Limitations: such a domain cannot be verified for an account either; this rule explains why that would not help.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.author import authors
from policy.wordlists import shipped


class FreemailFrom:
    name = "freemail_from"

    class Settings(Section):
        """Which domains are freemail."""

        also: list[str] = Field(default_factory=list)
        """Further domains, as in `config/defaults/freemail.toml`."""
        allowed: list[str] = Field(default_factory=list)
        """Domains that may be used all the same, for the provider itself."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._domains = _domains(tuple(settings.also), tuple(settings.allowed))

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        domains = [author.address.domain for author in authors(message, b"from", b"sender")]
        for domain in domains:
            if found := self._provider(domain):
                text = (
                    f"freemail_from: receivers take mail from {found} only from its own servers; "
                    "send from a domain of your own"
                )
                return Refuse(Reply(550, "5.7.1", text)), ""
        return Pass(), f"{', '.join(domains) or 'no domain'}: no freemail"

    def _provider(self, domain: str) -> str | None:
        """The freemail domain that ``domain`` is, or lies below."""
        while domain:
            if domain in self._domains:
                return domain
            domain = domain.partition(".")[2]
        return None


@lru_cache(16)
def _domains(also: tuple[str, ...], allowed: tuple[str, ...]) -> frozenset[str]:
    listed = {domain for group in shipped("freemail").values() for domain in group}
    return frozenset(listed | {domain.lower() for domain in also}) - {domain.lower() for domain in allowed}
