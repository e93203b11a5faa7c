"""Mailing id: every marketing message shows which mailing it belongs to, in ``X-Mailing-ID``.

With it an abuse desk finds account, list, consent and events in one step (``mta mailing show ID``).

*Limits.* Whoever forwards a message may strip it; the ids in List-Unsubscribe and Feedback-ID are still there then.
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
        """What becomes of a field of the application's."""

        own: Own = "replace"
        """An `X-Mailing-ID` that the application wrote itself: `replace` it or `refuse` the message."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._own = settings.own

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if refusal := refusal_of_own(self.name, message, self._own, FIELD):
            return refusal, ""
        if facts.mailing is None:
            return Pass(), "no mailing"
        mailing_id = facts.mailing.id
        return Amend((fold(FIELD, [mailing_id]),), f"{FIELD}: {mailing_id}"), ""
