"""Sendmail from version 5 on, and those who write like it: recipients under a ruled line, then a transcript."""

from __future__ import annotations

import re

from bounce.parsers.free_text import BounceForm, FreeTextBounce, FreeTextRecipient, reported
from bounce.parsers.kinds import Reported
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "sendmail",
        any_of(
            r"-{2,9} ?the following address(?:es|\(es\))? (?:had|have) [a-z -]{0,40}(?:errors?|problems?|failures?)",
            r"the following address(?:es|\(es\))? (?:had|have) (?:permanent|transient|delivery|fatal)",
        ),
        any_of(
            r"addresses had transient non-fatal errors",
            r"this is a warning message only",
            r"will keep trying until",
        ),
        own=False,
    ),
)
TRANSCRIPT = any_of(r"-{2,9} ?transcript of session follows")

_REFUSED = re.compile(
    r"\s*(?P<code>[45]\d\d)[ -](?:[45]\.\d\.\d )?<?(?P<address>[^\s<>]{1,64}@[^\s<>]{1,255}?)>?\.\.\. ?(?P<words>.*)"
)
_ASKED = re.compile(r"\s*>>> rcpt to: ?<(?P<address>[^<>]{3,300})>", re.IGNORECASE)
_ANSWERED = re.compile(r"\s*<<< (?P<words>[45]\d\d[ -].*)")


def read_transcript(notice: FreeTextBounce) -> tuple[Reported, ...]:
    """Version 5 names the recipients in the transcript alone: ``550 <ann@example.com>... User unknown``."""
    opening = TRANSCRIPT.search(notice.lower)
    if opening is None:
        return ()
    entries: dict[str, FreeTextRecipient] = {}
    answer = ""
    asked: str | None = None
    for line in notice.lines[notice.lower.count("\n", 0, opening.end()) + 1 :]:
        if match := _ASKED.match(line):
            asked, answer = match["address"], ""
        elif line.lstrip().startswith(">>>"):
            asked, answer = None, ""
        elif match := _ANSWERED.match(line):
            answer = match["words"]
            if asked:
                entries.setdefault(asked.lower(), FreeTextRecipient(asked, [])).lines += [
                    f">>> RCPT TO:<{asked}>",
                    answer,
                ]
        elif match := _REFUSED.match(line):
            entry = entries.setdefault(match["address"].lower(), FreeTextRecipient(match["address"], []))
            if not entry.lines:
                entry.lines.append(answer or f"{match['code']} {match['words']}")
            asked, answer = None, ""
    return tuple(reported(entry, [], delayed=False, own=False) for entry in entries.values())
