"""Recognise auto-replies: vacation notices (RFC 3834 and unmarked ones), ticket systems, challenge/response.

They change nothing. Bounces are looked for first, so that none is taken for an auto-reply.

Limitations: Unmarked notices are recognised by phrases in eight languages; in others they are ordinary mail, which
changes nothing either.
"""

from __future__ import annotations

from bounce.languages import phrases
from bounce.parsers.evidence import is_marked_auto_reply
from bounce.parsers.free_text import FreeTextBounce, address_of
from bounce.parsers.mime import Mail, decode_words
from bounce.parsers.report_kinds import Report, ReportedAction, ReportedRecipient, ReportKind

MAX_LINES = 60  # longer unmarked mail is taken for a person's
MAX_WORDS = 6000  # characters

_SUBJECT = r"(?:(?:re|aw|antw|r)\s{0,2}:\s{0,2})?{}"
_WORDS = r"\b{}"


def read_challenge(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return ``mail`` as a challenge, which asks the sender to do something before delivery, or None."""
    asks = phrases("challenge", _WORDS)
    words = " ".join(text.lines[:MAX_LINES])[:MAX_WORDS].lower()
    asked = asks.search(words) or asks.search(decode_words(mail.fields.get("subject") or "").lower())
    return _report(mail, ReportKind.CHALLENGE, "challenge") if asked else None


def read_auto_reply(mail: Mail, text: FreeTextBounce) -> Report | None:
    """Return ``mail`` as an auto-reply, or None."""
    words = "\n".join(text.lines[:MAX_LINES])[:MAX_WORDS].lower()
    subject = decode_words(mail.fields.get("subject") or "").lower().strip(" \t[(*!-")
    if challenge := read_challenge(mail, text):
        return challenge
    if is_marked_auto_reply(mail):
        return _report(mail, ReportKind.AUTO_REPLY, "rfc3834")
    by_words = len(text.lines) <= MAX_LINES and phrases("away", _WORDS).search(words)
    if phrases("away_subject", _SUBJECT).match(subject) or by_words:
        return _report(mail, ReportKind.AUTO_REPLY, "vacation")
    return None


def _report(mail: Mail, kind: ReportKind, form: str) -> Report:
    value = mail.fields.get("from") or ""
    address = address_of(value if "<" in value else value.partition("(")[0])
    return Report(kind, form, (ReportedRecipient(ReportedAction.REPLIED, address, address),) if address else ())
