"""Header text as readers see it: RFC 2047 encoded words decoded, quotes removed.

Rules that judge a name or subject need its text, not its octets.

Invariants: never raises, and takes linear time: only the first 2,000 characters are read.

Limitations: encoded words are decoded inside quotes too (RFC 2047 5 forbids it, mail clients do it). An octet sequence
split between two encoded words is not joined.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from functools import lru_cache

from mta.mail.characters import is_ignorable

LONGEST = 2000  # characters

_ENCODED = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\s]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t]+(?==\?)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


@lru_cache(4096)
def decoded(value: str) -> str:
    """An unfolded field value with its encoded words decoded; what cannot be decoded stays as it is."""
    value = value[:LONGEST]
    if "=?" not in value:
        return value
    return _ENCODED.sub(_word, _BETWEEN.sub(r"\1", value))


def unquoted(phrase: str) -> str:
    """A display name without its quotes, its white space single."""
    if '"' in phrase:
        phrase = _QUOTED.sub(lambda match: _ESCAPE.sub(r"\1", match[1]), phrase)
    return " ".join(phrase.split())


def plain(text: str) -> str:
    """``text`` for comparing: compatibility forms made plain (full-width, styled letters), case folded, and without
    invisible characters."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", "".join(letter for letter in text if not is_ignorable(letter)))


def shown(text: str, most: int = 60) -> str:
    """``text`` fit to be quoted in an answer: short, on one line, nothing that a terminal would obey."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[: most + 1])
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    try:
        octets = text.encode("ascii")
        if encoding in "bB":
            octets = base64.b64decode(octets + b"=" * (-len(octets) % 4))
        else:
            octets = binascii.a2b_qp(octets, header=True)
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):  # an unknown charset, broken base64
        return match[0]
