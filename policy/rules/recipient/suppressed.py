"""Suppressed: an address that hard-bounced, complained or objected is not mailed again.

Whoever unsubscribed gets no mail that shows marks of a mailing either, in whichever stream, allowed marks included. Nor
do they get what was queued before.

Limitations: sees only the suppressions in the facts: those of this account, and those for everyone. How many recipients
a message or its text has is no mark here: that is told by the limits of the rule ``stream``.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.reply import Reply
from policy.base import Facts, Pass, RecipientFacts, Refuse, Suppression, Verdict
from policy.permission.marketing_signs import MailingMark
from policy.rule_context import RuleContext


def _refusal(suppression: Suppression, mark: MailingMark | None = None) -> Reply:
    """Return what the client is told about one suppressed recipient."""
    because = f"; the message shows {mark.where}, so it counts as a mailing" if mark else ""
    return Reply(
        550,
        "5.7.1",
        f"suppressed: {suppression.address} is on the suppression list since {suppression.since:%Y-%m-%d} "
        f"({suppression.why}, rule {suppression.rule}); remove the address from your list{because}",
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
            if facts.marks.all and suppression.covers_mailing(facts.topic):
                return Refuse(_refusal(suppression, facts.marks.all[0])), ""
        return Pass(), f"{recipient.address} is not suppressed"

    def before_delivery(self, recipient: RecipientFacts, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        return self.on_recipient(recipient, facts, now)
