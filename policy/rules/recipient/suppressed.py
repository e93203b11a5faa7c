"""Suppressed: an address that hard-bounced, complained or objected is not mailed again.

Limitations: sees only the suppressions in the facts: those of this account, and those for everyone.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.reply import Reply
from policy.base import Facts, Pass, RecipientFacts, Refuse, Suppression, Verdict
from policy.rule_context import RuleContext


def _refusal(suppression: Suppression) -> Reply:
    """Return what the client is told about one suppressed recipient."""
    return Reply(
        550,
        "5.7.1",
        f"suppressed: {suppression.address} is on the suppression list since {suppression.since:%Y-%m-%d} "
        f"({suppression.why}, rule {suppression.rule}); remove the address from your list",
    )


class Suppressed:
    name = "suppressed"
    mandatory = True

    class Settings(Section):
        """No settings: suppressed means never."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_recipient(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        for suppression in recipient.suppressions:
            if suppression.covers(facts.stream, facts.topic):
                return Refuse(_refusal(suppression)), ""
        return Pass(), f"{recipient.address} is not suppressed"

    def before_delivery(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return self.on_recipient(recipient, facts, now)
