"""What a token in a message to one recipient says."""

from __future__ import annotations

from mta.mail.message import Message
from policy.base import Facts
from policy.permission.tokens import Claim


def claim(purpose: str, message: Message, facts: Facts) -> Claim:
    """Return what a token in this message says. It has one recipient, who is among the facts."""
    (recipient,) = message.envelope.recipients
    key = next(known.key for known in facts.recipients if known.address == recipient.address)
    if not key:
        raise ValueError("the recipient's keyed hash is not known")
    mailing = facts.mailing.id if facts.mailing else ""
    return Claim(purpose, facts.account.id, key, mailing, facts.topic or "")
