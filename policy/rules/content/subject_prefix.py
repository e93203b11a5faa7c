"""Subject prefix: a first message does not pretend to be a reply or a forward.

``Re:`` and ``Fwd:`` (in all their languages) in the subject suggest an earlier conversation. Gmail lists them as
misleading (support.google.com/mail/answer/81126); CAN-SPAM forbids misleading subjects.

A transactional message may be a genuine reply: the prefix is allowed if In-Reply-To or References names the original.
Marketing mail replies to nothing.

Limitations: whether the named original ever existed is unknown. One-letter prefixes (``R:``, ``I:``) are ignored.
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
        """No settings."""

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
