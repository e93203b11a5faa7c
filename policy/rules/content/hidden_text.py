"""Hidden text: everything the message says is visible to its reader.

Text in the colour of its background, of size zero, or off-screen is meant for filters, not for people
(support.google.com/mail/answer/81126). A little is customary: the preheader shown beside the subject. So is text that
appears twice, for small and large screens: only text that is visible nowhere counts.

Invariants: text that every mail client ignores (comments, styles) does not count as hidden; an unreadable body never
passes.

Limitations: those of ``policy.text.message_text``: only a bounded part of a message is read, and style sheets are
followed only in part.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import shown
from policy.text.message_text import Hidden


class HiddenText:
    name = "hidden_text"
    content_only = True

    class Settings(Section):
        """How much hidden text is allowed."""

        most: int = Field(400, ge=0)
        """Maximum number of hidden letters and digits; a preheader takes about 100."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        self._most = settings.most

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        if fault := facts.reading.fault:
            text = f"hidden_text: what the message shows cannot be told: {fault}; make it simpler"
            return Refuse(Reply(550, "5.6.0", text)), ""
        hidden = facts.reading.concealed
        if not hidden:
            return Pass(), "nothing hidden"
        total = sum(_letters(piece.text) for piece in hidden)
        if total <= self._most:
            return Pass(), f"{total} letters hidden, at most {self._most}"
        seen = frozenset(_lines(facts.reading.visible))
        counted = [(piece, _unseen(piece, seen)) for piece in hidden]
        total = sum(count for _, count in counted)
        if total <= self._most:
            return Pass(), f"{total} letters hidden that do not show elsewhere, at most {self._most}"
        largest, _ = max(counted, key=lambda pair: pair[1])
        text = (
            f"hidden_text: {total} letters do not show, at most {self._most} are allowed "
            f'("{shown(" ".join(largest.text.split()))}" by {largest.how.value}); show them or take them out'
        )
        return Refuse(Reply(550, "5.7.1", text)), ""


def _unseen(piece: Hidden, seen: frozenset[str]) -> int:
    """Letters and digits of ``piece`` in lines that do not show anywhere else."""
    return sum(_letters(line) for line in _lines(piece.text) if line not in seen)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()).casefold() for line in text.split("\n")]
