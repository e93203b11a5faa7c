"""Postfix's text, where the fields beside it were lost on the way."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "postfix",
        any_of(
            r"sorry to have to inform you that (?:your message could not|the message returned\s+below could not)",
            r"this is the (?:mail system|postfix program) at host",
            r"your message could not be delivered for more than",
        ),
        any_of(
            r"this is a warning only",
            r"it will be retried until",
        ),
        shared=False,
    ),
)
