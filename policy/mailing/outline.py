"""The structure of a message, to be compared with another's: each part's place and what its header says of it.

Two messages of one outline show their readers the same parts, whichever alternative a program chooses. What may differ
is what says nothing: boundaries, and how a text was encoded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policy.text.message_text import MessageText
from policy.text.parts import MessagePart

MAX_PARTS = 200

_BOUNDARY = re.compile(r"boundary\s*=\s*(?:\"[^\"]*\"|[^\s;\"]+)", re.IGNORECASE)
_UTF8 = re.compile(r"charset\s*=\s*\"?(?:us-ascii|utf-8)\"?(?=[;\s]|\Z)", re.IGNORECASE)
_ENCODINGS = frozenset({"7bit", "8bit", "binary", "quoted-printable", "base64"})
_ENCODING, _TYPE = "content-transfer-encoding", "content-type"
_SAYS_NOTHING = frozenset({"content-length", "content-md5"})


@dataclass(frozen=True, slots=True)
class Outline:
    """``shape``: of each part, top to bottom, the number of its parts and its fields. ``leaves``: those without."""

    shape: tuple[tuple[int, bool, tuple[tuple[str, str], ...]], ...]
    leaves: tuple[MessagePart, ...]


def outline_of(reading: MessageText) -> Outline | None:
    """Return the structure of a message, None if it cannot be read, or has more than ``MAX_PARTS``."""
    if reading.root is None:
        return None
    shape, leaves, waiting = [], [], [reading.root]
    while waiting:
        part = waiting.pop()
        children = [] if part.kind.is_message else part.children
        shape.append((len(children), part.kind.is_message, tuple(_fields(part))))
        if len(shape) > MAX_PARTS:
            return None
        if children:
            waiting += reversed(children)
        else:
            leaves.append(part)
    return Outline(tuple(shape), tuple(leaves))


def _fields(part: MessagePart) -> list[tuple[str, str]]:
    """Return what the header says of a part; what it says twice is there twice."""
    fields = []
    for name, values in part.raw.headers.items():
        if name[:8].lower() != "content-":
            continue
        name = name.lower()
        for value in values:
            if name == _ENCODING:
                fields.append((name, "" if value.strip().lower() in _ENCODINGS else value))
            elif name == _TYPE:
                value = _UTF8.sub("charset=utf-8", value, count=1)
                if value[:10].lower() == "multipart/":
                    value = _BOUNDARY.sub("boundary=", value, count=1)
                fields.append((name, value))
            elif name not in _SAYS_NOTHING:
                fields.append((name, value))
    return sorted(field for field in fields if field != (_ENCODING, ""))  # whether it says how it is encoded, or not
