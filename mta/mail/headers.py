"""The header block of a message, split once, every field kept as it came.

Policy and signing both need the raw fields; the standard library's parser is neither safe nor fast enough for that
(quadratic, recursive, and lenient about who the sender is).

Invariants: nothing is repaired, decoded or reordered.
Limitations: field values are bytes, to be decoded where their text is needed. The caller has checked that every line
ends with CRLF.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mta.mail.values import dataclass

_FIELD_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]+\Z")  # printable ASCII except the colon, RFC 5322 2.2
LONGEST_LINE = 998  # octets without CRLF
_TOO_LONG = re.compile(rb"[^\r\n]{%d,}" % (LONGEST_LINE + 1))
_NEXT_FIELD = re.compile(rb"\r\n(?![ \t])")


class HeaderError(ValueError):
    """Why the header block cannot be read; the text may be shown to the client."""


@dataclass(frozen=True, slots=True)
class Headers:
    """``fields`` in order: (lower-case name, raw field without its last CRLF). ``size`` is the offset of the body."""

    fields: tuple[tuple[bytes, bytes], ...]
    size: int

    @classmethod
    def split(cls, content: bytes) -> Headers:
        """Read the header block of CRLF-terminated ``content``. Raises HeaderError."""
        if content.startswith(b"\r\n"):
            return cls((), 2)
        end = content.find(b"\r\n\r\n")
        block, size = (content[:end], end + 4) if end >= 0 else (content.removesuffix(b"\r\n"), len(content))
        if not block:
            return cls((), size)
        if block[0] in b" \t":
            raise HeaderError("the first header line starts with white space")
        fields = []
        for raw in _NEXT_FIELD.split(block):
            try:
                name = _name(raw[: raw.index(b":")])
            except ValueError:
                shown = raw[:40].decode("ascii", "replace")
                raise HeaderError(f"header line {shown!r} is not of the form `Name: value`") from None
            fields.append((name, raw))
        return cls(tuple(fields), size)

    def all(self, name: bytes) -> list[bytes]:
        """Return the values (after the colon, with folds) of every field called ``name`` (lower case), top first."""
        return [raw.partition(b":")[2] for field, raw in self.fields if field == name]

    def count(self, name: bytes) -> int:
        return sum(field == name for field, _ in self.fields)

    def value(self, name: bytes) -> str | None:
        """Return the first value, unfolded and stripped, or None. Bytes that are not UTF-8 become U+FFFD."""
        for field, raw in self.fields:
            if field == name:
                return unfold(raw.partition(b":")[2])
        return None


@lru_cache(1024)
def _name(before_colon: bytes) -> bytes:
    """Return the name of a field in lower case. Raises ValueError."""
    name = before_colon.rstrip(b" \t")
    if not _FIELD_NAME.match(name):
        raise ValueError(name)
    return name.lower()


def unfold(value: bytes) -> str:
    """Return a field value on one line, as text (RFC 5322 2.2.3)."""
    return value.replace(b"\r\n", b"").decode("utf-8", "replace").strip()


def without_comments(value: str) -> str:
    """Return a structured field value with blanks in place of its comments (RFC 5322 3.2.2), so that places stay.

    One that is not closed stays as it is.
    """
    if "(" not in value:
        return value
    letters, begun, quoted, escaped = list(value), list[int](), False, False
    for at, letter in enumerate(value):
        if escaped or letter == "\\":
            escaped = not escaped
        elif letter == '"' and not begun:
            quoted = not quoted
        elif quoted:
            continue
        elif letter == "(":
            begun.append(at)
        elif letter == ")" and begun:
            start = begun.pop()
            if not begun:
                letters[start : at + 1] = " " * (at + 1 - start)
    return "".join(letters)


def break_long_lines(content: bytes) -> bytes:
    """Return a message without lines of more than LONGEST_LINE octets (RFC 5322 2.1.1), as it must be to leave.

    A line of the header is folded at a blank; any other goes on behind CRLF and a blank, and no character is split.
    """
    return _TOO_LONG.sub(_broken, content)


def _broken(match: re.Match[bytes]) -> bytes:
    line, pieces = match[0], list[bytes]()
    while len(line) > LONGEST_LINE:
        at = line.rfind(b" ", 1, LONGEST_LINE)
        if at < LONGEST_LINE // 2:
            at = LONGEST_LINE
            while line[at] & 0xC0 == 0x80 and at > LONGEST_LINE - 4:
                at -= 1
        pieces.append(line[:at])
        line = b" " + line[at:].removeprefix(b" ")
    return b"\r\n".join([*pieces, line])
