"""Content: flagged mail is reviewed by a person before it is sent; adult content is sent only if agreed.

No classifier recognises hate or defamation reliably enough to reject mail. rspamd flags it with symbols, those of the
rules that ship (``config/rspamd``) or others; the profile says what each means. The message is held, and a person
decides (``mta queue release``).

Invariants: nothing is rejected because of a classifier alone, except adult content, which an account agrees to or not,
and what a profile names.

Limitations: without rspamd, or without rules there that set these symbols, nothing is flagged.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.hold import Hold, HoldSource
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext


class Content:
    name = "content"
    needs_scans = True

    class Settings(Section):
        """Which rspamd symbols mean what."""

        review: list[str] = Field(["REVIEW_CONTENT"])
        """rspamd symbols for content that a person should review first: defamatory, racist, hateful."""
        adult: list[str] = Field(["ADULT_CONTENT"])
        """rspamd symbols for adult content."""
        refuse: list[str] = Field(default_factory=list)
        """rspamd symbols for content that is rejected, whatever was agreed."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._review, self._adult = frozenset(settings.review), frozenset(settings.adult)
        self._refuse = frozenset(settings.refuse)

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        labels = frozenset[str]().union(*(scan.labels for scan in facts.scans))
        if banned := self._refuse & labels:
            return Refuse(Reply(550, "5.7.1", f"content: it is marked ({_named(banned)}); leave that out")), ""
        if (adult := self._adult & labels) and not facts.account.adult_agreed:
            text = (
                f'content: it is marked as adult ({_named(adult)}), and that was not agreed with account "'
                f'{facts.account.name}"; leave it out, or ask for an agreement'
            )
            return Refuse(Reply(550, "5.7.1", text)), ""
        if review := self._review & labels:
            return Hold(HoldSource.REVIEW, self.name, f"it is marked ({_named(review)}) and waits for a review"), ""
        return Pass(), f"adult content as agreed ({_named(adult)})" if adult else "nothing is marked"


def _named(labels: frozenset[str]) -> str:
    return ", ".join(sorted(labels))
