"""Suppressed: an address that hard-bounced, complained or objected is not mailed again.

*Limits.* Sees only the suppressions in the facts: those of this account, and those for everybody.
"""

from __future__ import annotations

from datetime import datetime

from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Suppression, Verdict


def refusal(suppression: Suppression) -> Reply:
    """What the client is told about one suppressed recipient."""
    return Reply(
        550,
        "5.7.1",
        f"suppressed: {suppression.address} is on the suppression list since {suppression.since:%Y-%m-%d} "
        f"({suppression.reason}, rule {suppression.rule}); remove the address from your list",
    )


class Suppressed:
    name = "suppressed"

    def check(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if facts.suppressions:
            first = facts.suppressions[0]
            return Refuse(refusal(first), first.address), ""
        return Pass(), f"{len(message.envelope.recipients)} recipients, none suppressed"
