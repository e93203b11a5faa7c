"""Content: what a scanner has marked is looked at by a person before it goes; adult content goes only if agreed.

No machine knows hatred or defamation well enough to refuse a message for it. A classifier marks it (rspamd, by a
symbol that its operator writes rules for), the message waits, and somebody decides (``mta queue release``).

It must never refuse for good what only a machine dislikes, but for adult content, which an account agrees on or not.

*Limits.* Without rspamd, or without rules there that set these symbols, nothing is marked.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Hold, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class Content:
    name = "content"
    needs_scans = True

    class Settings(Section):
        """Which marks mean what."""

        review: list[str] = Field(["REVIEW_CONTENT"])
        """Symbols of rspamd for content that a person should see first: defamatory, racist, hateful."""
        adult: list[str] = Field(["ADULT_CONTENT"])
        """Symbols of rspamd for adult content."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._review, self._adult = frozenset(settings.review), frozenset(settings.adult)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        labels = frozenset[str]().union(*(scan.labels for scan in facts.scans))
        if (adult := self._adult & labels) and not facts.account.adult_agreed:
            text = (
                f'content: it is marked as adult ({_named(adult)}), and that was not agreed with account "'
                f'{facts.account.name}"; leave it out, or ask for an agreement'
            )
            return Refuse(Reply(550, "5.7.1", text)), ""
        if review := self._review & labels:
            return Hold(f"content: it is marked ({_named(review)}) and waits for a person to look at it"), ""
        return Pass(), f"adult content as agreed ({_named(adult)})" if adult else "nothing is marked"


def _named(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels))
