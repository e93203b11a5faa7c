"""Mailing id: every marketing message names its mailing in ``X-Mailing-ID``.

With it an abuse desk finds account, list, consent and events in one step (``mta mailing show ID``).

Limitations: a forwarded message may lose it; the ids in List-Unsubscribe and Feedback-ID remain.
"""

from __future__ import annotations

from datetime import datetime

from config.types import Section
from mta.mail.message import Message
from policy.base import Amend, Facts, Pass, Verdict
from policy.header_fields import Own, fold, refusal_of_own
from policy.rule_context import RuleContext

FIELD = "X-Mailing-ID"


class MailingId:
    name = "mailing_id"

    class Settings(Section):
        """What to do with a field set by the application."""

        own: Own = "replace"
        """`X-Mailing-ID` set by the application: `replace` it or `refuse` the message."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._own = settings.own

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if refusal := refusal_of_own(self.name, message, self._own, FIELD):
            return refusal, ""
        if facts.mailing is None:
            return Pass(), "no mailing"
        mailing_id = facts.mailing.id
        return Amend((fold(FIELD, [mailing_id]),), f"{FIELD}: {mailing_id}"), ""
