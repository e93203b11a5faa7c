"""Mailing id: every marketing message names its mailing in ``X-Mailing-ID``.

With it an abuse desk finds account, list, consent and events in one step (``mta mailing show ID``).

Limitations: a forwarded message may lose it; the ids in List-Unsubscribe and Feedback-ID remain.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.message import Message
from policy.base import Amend, Facts, Pass, Verdict
from policy.header_fields import fold
from policy.rule_context import RuleContext

FIELD = "X-Mailing-ID"


class MailingId:
    name = "mailing_id"

    class Settings(Section):
        """No settings."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if facts.mailing is None:
            return Pass(), "no mailing"
        mailing_id = facts.mailing.id
        return Amend((fold(FIELD, [mailing_id]),), f"{FIELD}: {mailing_id}"), ""
