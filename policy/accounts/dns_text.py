"""What can be wrong with a TXT record before its grammar matters: hidden characters, quotes, near misses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_QUOTES = frozenset("\"'\\`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb")
_UNDECODED = "\ufffd"


def describe_character(text: str, at: int) -> str:
    """Return ``U+200B (ZERO WIDTH SPACE) in place 7``; places count from 1."""
    if text[at] == _UNDECODED:
        return f"an octet that is not UTF-8 in place {at + 1}"
    name = "TAB" if text[at] == "\t" else unicodedata.name(text[at], "CONTROL CHARACTER")
    return f"U+{ord(text[at]):04X} ({name}) in place {at + 1}"


def odd_character(text: str) -> str | None:
    """Return the first character other than printable ASCII and space, described; None if there is none."""
    found = re.search(r"[^\x20-\x7e]", text)
    return describe_character(text, found.start()) if found else None


def near_miss(texts: Sequence[str], version: str, separator: str) -> str | None:
    """Return what keeps a text from being the record of ``version`` ("v=spf1") that it was meant to be, or None.

    ``separator``: what must follow the version.
    """
    for text in texts:
        if (end := _version_end(text, version)) is not None:
            return _why_missed(text, end, version, separator)
    return None


def _version_end(text: str, version: str) -> int | None:
    """Return where the version ends if one looks past case, spaces, quotes and what nobody sees; None if not so."""
    tag, _, value = version.partition("=")
    hidden = r"[^0-9a-z]*"
    match = re.match(f"{hidden}(?:{tag}{hidden})?{hidden.join(value)}(?!\\d)", text, re.ASCII | re.IGNORECASE)
    return match.end() if match else None


def _why_missed(text: str, end: int, version: str, separator: str) -> str:
    if _QUOTES & set(text[: end + 1]):
        return "quotation marks or backslashes stand in the text, to which they do not belong"
    if odd := odd_character(text[: end + 1]):
        return f"there is a hidden character in it, {odd}"
    if text.startswith(" "):
        return "it begins with a space"
    if text[:end].lower() != version.lower():
        return f"it must begin with exactly {version}"
    if text[:end] != version and version.partition("=")[2].isupper():
        return f"{version} must be written so, in capitals"
    return f"behind {version} there must be {separator}, not {text[end]!r}"
