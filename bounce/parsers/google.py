"""Gmail and Google Workspace where they come without the fields of RFC 3464."""

from __future__ import annotations

from bounce.parsers.free_text import BounceForm
from bounce.parsers.phrases import any_of

FORMS = (
    BounceForm(
        "google",
        any_of(
            r"delivery to the following recipients? (?:failed permanently|has been delayed)",
            r"your message wasn't delivered to ",
            r"there was a (?:temporary )?problem (?:while )?delivering your message to",
        ),
        any_of(
            r"has been delayed",
            r"will be retried",
            r"delivery incomplete",
            r"temporary problem",
            r"will retry for",
        ),
    ),
)
