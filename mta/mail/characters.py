"""Characters that an address must not have: those that readers cannot see, and those that mean nothing to others.

Two addresses that look alike and are not are two mailboxes to a ledger of consents and one to its reader. So whatever
has no shape of its own is refused by name (RFC 8264 4.2: default-ignorable, control, private-use and unassigned code
points are not allowed in identifiers).

Limitations: what is unassigned is as old as Python's tables. Letters that look like others are not judged here: an
address may be in any script (``policy.text.scripts`` judges those of senders).
"""

from __future__ import annotations

import re
import unicodedata

# Default_Ignorable_Code_Point of Unicode (DerivedCoreProperties.txt), which Python's tables lack; U+FFFC and U+FFFD
# stand for something that was lost.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffd\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_HIDDEN = re.compile(f"[{_IGNORABLE}]")
_KINDS = {
    "Cc": "control character",
    "Cf": "format character",
    "Cn": "unassigned",
    "Co": "private use",
    "Cs": "octet that is not UTF-8",
    "Zl": "line separator",
    "Zp": "paragraph separator",
    "Zs": "space",
}


def is_ignorable(letter: str) -> bool:
    """Return whether readers are shown nothing for ``letter``."""
    return _HIDDEN.match(letter) is not None or unicodedata.category(letter) == "Cf"


def hidden(text: str) -> str | None:
    """Return the first character of ``text`` that no address may have, named with its place; None if there is none."""
    if text.isascii() and text.isprintable():
        return None
    for place, letter in enumerate(text, 1):
        if letter != " " and (_HIDDEN.match(letter) or unicodedata.category(letter) in _KINDS):
            return f"{named(letter)} at position {place}"
    return None


def named(letter: str) -> str:
    """Return a character as ``U+200B ZERO WIDTH SPACE``; those that have no name are told by their kind."""
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # as `surrogateescape` reads it
        return f"octet 0x{code - 0xDC00:02X}, which is not UTF-8,"
    kind = "noncharacter" if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF else None
    return f"U+{code:04X} {unicodedata.name(letter, kind or _KINDS.get(unicodedata.category(letter), 'unnamed'))}"
