"""Write notices into a plain text.

Limitations: what a program makes of a text beyond its lines (colours for quotes, pictures for smileys) is not known;
texts that hide what follows them in some programs (uuencode, OpenPGP) are not written into.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from policy.footer.notice import Notice, as_lines

PLACEHOLDER = re.compile(r"\{\{[ \t]*(imprint|unsubscribe)[ \t]*\}\}")
RULE = "_" * 24  # not "-- ", under which programs fold away what follows
_SWALLOWS = re.compile(
    r"^(?:begin(?:-base64)? \d{3,4} \S|=ybegin |-----BEGIN PGP (?:SIGNED )?MESSAGE-----)", re.MULTILINE
)


def plain_fault(text: str) -> str:
    """Return why nothing can be written into ``text``, or ""."""
    if found := _SWALLOWS.search(text):
        return f'the text holds "{found[0].strip()}", and what follows may not show; send that as an attachment'
    return ""


def write_plain(text: str, notices: Sequence[Notice], spoken: str, *, flowed: bool) -> str:
    """Return ``text`` (lines ending with LF) with each notice at its first placeholder, else at the end.

    ``flowed``: a line that ends with a blank goes on in the next (RFC 3676 4.1).
    """
    rest = []
    for notice in notices:
        said = "\n".join(_stuffed(line) if flowed else line for line in as_lines(notice, spoken))
        places = [place for place in PLACEHOLDER.finditer(text) if place[1] == notice.name]
        if not places:
            rest.append(said)
            continue
        for n, place in reversed(list(enumerate(places))):
            text = text[: place.start()] + (said if n == 0 else "") + text[place.end() :]
    if not rest:
        return text
    return "\n".join([text.rstrip(" \t\n"), "", RULE, *rest, ""]).lstrip("\n")


def _stuffed(line: str) -> str:
    """RFC 3676 4.4; our own lines are fixed."""
    return f" {line}".rstrip() if line.startswith((" ", ">", "From ")) else line.rstrip()
