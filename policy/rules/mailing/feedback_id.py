"""Feedback id: ``Feedback-ID`` lets Gmail report complaints by mailing and account in Postmaster Tools.

The form is ``mailing:account:kind:sender`` (support.google.com/mail/answer/6254652): the sender is the same for all our
mail, 5 to 15 characters; none of the other values may be unique to one message.

Limitations: Gmail shows only values that occur often enough.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.message import Message
from policy.base import Amend, Facts, Verdict
from policy.header_fields import fold
from policy.rule_context import RuleContext

FIELD = "Feedback-ID"


class FeedbackId:
    name = "feedback_id"

    class Settings(Section):
        """No settings."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._sender = context.sender_id

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        mailing = facts.mailing.id if facts.mailing else ""
        value = f"{mailing}:{facts.account.id}:{facts.stream.value}:{self._sender}"
        return Amend((fold(FIELD, [value]),), f"{FIELD}: {value}"), ""
