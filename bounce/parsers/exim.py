"""Exim, and those who write like it: Mail.ru, IONOS (kundenserver.de), MX Logic, Zoho."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "exim",
        any_of(
            r"the following\s+address(?:\(es\)|es)?\s+failed",
            r"permanent error\.\s+the following",
            r"could not be delivered to one or more of\s+its\s+recipients",
            r"(?:could not|cannot) be delivered to all of its recipients",
            r"address(?:es)? to which the message has not yet been delivered (?:is|are)",
            r"has not (?:yet )?been delivered to (?:one or more|all) of its\s+recipients",
        ),
        any_of(
            r"not (?:yet )?been delivered",
            r"delivery attempts will continue",
        ),
    ),
)
