"""An SMTP reply, ours or a receiver's.

Local failures are replies too (a timeout is ``Reply(451, "4.4.1", ...)``), so that the queue handles one type. Text is
sanitised when it is parsed: a receiver's NUL or lone surrogate must not keep a delivery from being recorded.

Limitations: ``text`` keeps at most MAX_TEXT characters.
"""

from __future__ import annotations

import re
from enum import Enum

from mta.mail.values import dataclass

MAX_TEXT = 2000  # characters kept for logs, the store and DSNs

_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?=[\s:;,.)\]-]|\Z)[ \t]*")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class ReplyKind(Enum):
    """What a reply code asks of the sender (RFC 5321 4.2.1)."""

    POSITIVE = 2
    TRANSIENT = 4
    PERMANENT = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """``code``: as received. ``status``: the enhanced code x.y.z (RFC 3463; x.0.0 if missing). ``text``: without it.

    ``retry_after``: seconds after which it may be otherwise, as the text says; None: nobody knows.
    """

    code: int
    status: str
    text: str
    retry_after: int | None = None

    @property
    def kind(self) -> ReplyKind:
        """2xx, 4xx or 5xx; every other code (999, -1, 3xx out of place) counts as transient."""
        if 200 <= self.code <= 299:
            return ReplyKind.POSITIVE
        if 500 <= self.code <= 599:
            return ReplyKind.PERMANENT
        return ReplyKind.TRANSIENT

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}"

    @classmethod
    def parse(cls, code: int, text: str) -> Reply:
        """Parse a receiver's reply: split off the enhanced code (also repeated on each line) and sanitise the text."""
        text = sanitise(text)
        match = _ENHANCED.match(text)
        first = str(code)[0]
        if match and match[1][0] == first:
            status = match[1]
            text = "\n".join(line.removeprefix(status).strip() for line in text.split("\n"))
        else:
            status = f"{first if first in '245' and 200 <= code <= 599 else '4'}.0.0"
        return cls(code, status, text)

    @classmethod
    def read(cls, line: str) -> Reply:
        """Read ``"550 5.1.1 No such user"``, as pasted by a person. Raises ValueError if the code is missing."""
        match = re.match(r"\s*(\d{3})(?:[ -]|\Z)(.*)", line, re.DOTALL)
        if not match:
            raise ValueError("a reply starts with its three-digit code, for example: 550 5.1.1 No such user")
        rest = re.sub(rf"(?m)^{match[1]}[ -]", "", match[2])
        return cls.parse(int(match[1]), rest)


def sanitise(text: str, limit: int = MAX_TEXT) -> str:
    """Return printable text of at most ``limit`` characters that PostgreSQL, JSON and a terminal accept."""
    if len(text) > limit:
        text = text[:limit]
    if text.isascii() and text.isprintable():
        return text.strip()
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
