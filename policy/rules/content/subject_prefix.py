"""Subject prefix: a first mail does not pretend to be an answer or to be passed on.

``Re:`` and ``Fwd:`` (in all their languages) before the subject make readers think that they have written before.
Gmail names it among what misleads (support.google.com/mail/answer/81126), CAN-SPAM forbids subjects that mislead.

A transactional message may be a true answer: there the prefix is allowed if the message names what it answers
(In-Reply-To or References). Marketing answers nobody.

*Limits.* Whether the message it names was ever there is not known. One-letter prefixes (``R:``, ``I:``) are left alone.
"""

from __future__ import annotations

import re
from datetime import datetime

from config.types import Section
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.accounts.account import Stream
from policy.base import Facts, Pass, Refuse, Verdict
from policy.rule_context import RuleContext
from policy.text.header_text import decoded, shown
from policy.wordlists import bare

PREFIXES = (
    "re", "fw", "fwd", "aw", "antw", "antwort", "wg", "doorst", "antwoord", "tr", "rep", "rv", "res", "enc", "rif",
    "sv", "vs", "vl", "vb", "odp", "pd", "ynt", "ilt", "απ", "πρθ", "回复", "答复", "转发", "回覆", "轉寄",
)  # fmt: skip

_BEFORE = r"(?:\[[^\]]{0,40}\]|[\W_])*+"  # signs, and tags such as [News]
_PREFIX = re.compile(rf"{_BEFORE}(?:{'|'.join(PREFIXES)}) ?(?:[\[(]\d{{1,3}}[\])]|\^\d{{1,3}}|\d{{1,3}})? ?:")


class SubjectPrefix:
    name = "subject_prefix"

    class Settings(Section):
        """Nothing to choose."""

    def __init__(self, settings: Settings, context: RuleContext) -> None:
        pass

    def on_content(self, message: Message, facts: Facts, now: datetime) -> tuple[Verdict, str]:
        subject = decoded(message.headers.value(b"subject") or "")
        found = _PREFIX.match(" ".join(bare(subject).split()))
        if not found:
            return Pass(), "no prefix"
        answers = message.headers.count(b"in-reply-to") or message.headers.count(b"references")
        if answers and facts.stream is Stream.TRANSACTIONAL:
            return Pass(), "answers another message"
        text = (
            f'subject_prefix: the subject begins with "{shown(found[0].strip())}" and answers nothing; leave that away'
        )
        return Refuse(Reply(550, "5.7.1", text)), ""
