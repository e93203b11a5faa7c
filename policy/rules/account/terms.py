"""Terms: the terms and anti-spam rules in force were accepted for the account.

When a new version comes into force, the previous one is accepted during a grace period; after that mail is rejected
until the new version is accepted.

Invariants: an acceptance of a later version never counts as one of the version in force.

Limitations: versions have no order; any version accepted before the new one came into force counts as the previous one.
"""

from __future__ import annotations

from datetime import UTC, datetime, time

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class TermsAccepted:
    name = "terms"

    class Settings(Section):
        """No settings: version and grace period are set in `policy.terms`."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._version = context.terms
        self._since = datetime.combine(context.terms_since, time(), UTC)
        self._until = self._since + context.terms_grace

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        accepted, name = facts.account.terms, facts.account.name
        if accepted is None:
            return self._refuse(f'the terms have not been accepted for account "{name}"')
        word = f"version {accepted.version} accepted {accepted.at:%Y-%m-%d} by {accepted.by}"
        if accepted.version == self._version:
            return Pass(), word
        if accepted.at < self._since and now < self._until:
            return Pass(), f"{word}; version {self._version} must be accepted by {self._until:%Y-%m-%d}"
        return self._refuse(
            f'account "{name}" has accepted version {accepted.version} of the terms, but version {self._version} '
            f"is in force since {self._since:%Y-%m-%d}"
        )

    def _refuse(self, fact: str) -> tuple[Verdict, str]:
        return Refuse(Reply(550, "5.7.1", f"terms: {fact}; accept version {self._version} to go on sending")), ""
