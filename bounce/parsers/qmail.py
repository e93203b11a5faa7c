"""qmail, its descendants (netqmail, notqmail, Postini) and Yahoo, who took over its manner.

What it says without a reply code may be another host's words; its own findings carry a code such as #5.1.2.
"""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "qmail",
        any_of(
            r"i(?:'m| am) afraid i wasn't able to deliver your message",
            r"this is the qmail-send program",
            r"i (?:was not|wasn't) able to deliver (?:your|the) message to",
            r"unable to deliver (?:your )?(?:message|mail) to the following address",
            r"your mail message to the following\s+address",
            r"this is a permanent error;? i've given up",
        ),
        any_of(
            r"i'm (?:not giving up|still trying)",
            r"i'll keep trying",
        ),
        shared=False,
        own=False,
    ),
)
