"""The value of a MIME header field, in every spelling that receivers read: comments, folds, quoted pairs (RFC 2045 5.1,
RFC 5322 3.2) and the continued and encoded parameters of RFC 2231.

Invariants: never raises, and takes linear time. A parameter that is given more than once is there more than once, so
that a contradiction can be seen.

Limitations: at most MAX_OCTETS of a value are read. Values are octets; an encoded parameter's charset and language are
passed over.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from mta.mail.values import dataclass

MAX_OCTETS = 4000  # of a value that are read
MAX_PARAMETERS = 200
MAX_SECTIONS = 100  # of one parameter (RFC 2231 3)

_BLANKS = re.compile(rb"[ \t\r\n]*")
_WORD = re.compile(rb"[^\s;=\"()]+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)(?:"|\\?\Z)', re.DOTALL)
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_IN_COMMENT = re.compile(rb"\\.|[()]", re.DOTALL)
_SECTION = re.compile(rb"([^*]+)(?:\*(\d{1,3}))?(\*)?\Z")


@dataclass(frozen=True, slots=True)
class MimeValue:
    """``kind``: what stands before the parameters, in lower case (``multipart/mixed``, ``attachment``). ``parameters``:
    (name in lower case, value), in order; the sections of one are joined and follow the plain ones."""

    kind: str
    parameters: tuple[tuple[str, bytes], ...] = ()

    def all(self, name: str) -> tuple[bytes, ...]:
        """Return the different values of a parameter, first one first."""
        return tuple(dict.fromkeys(value for known, value in self.parameters if known == name))


def parse_mime_value(raw: bytes) -> MimeValue:
    """Read what follows the colon of a Content-Type or Content-Disposition field; ``raw`` may have folds."""
    raw = raw[:MAX_OCTETS]
    kind, at = _until_semicolon(raw, 0)
    plain: list[tuple[str, bytes]] = []
    sections: dict[str, dict[int, bytes]] = {}
    while at < len(raw) and len(plain) + len(sections) < MAX_PARAMETERS:
        words, at = _until_semicolon(raw, at)
        name, equals, value = words.partition(b"=")
        section = _SECTION.match(name)
        if not equals or section is None:
            continue
        known = section[1].decode("latin-1").lower()
        if section[2] is None and section[3] is None:
            plain.append((known, value))
            continue
        number = int(section[2] or 0)
        if section[3]:
            value = unquote_to_bytes(value.split(b"'", 2)[-1] if number == 0 else value)
        if number < MAX_SECTIONS:
            sections.setdefault(known, {}).setdefault(number, value)
    joined = [(name, b"".join(parts[n] for n in sorted(parts))) for name, parts in sections.items()]
    return MimeValue(kind.decode("latin-1").lower(), (*plain, *joined))


def _until_semicolon(raw: bytes, at: int) -> tuple[bytes, int]:
    """Return what stands before the next semicolon, without blanks, comments and quotes, and the offset behind it."""
    words = []
    while at < len(raw):
        at = _end(_BLANKS, raw, at)
        if word := _WORD.match(raw, at):
            words.append(word[0])
            at = word.end()
        elif quoted := _QUOTED.match(raw, at):
            words.append(_PAIR.sub(rb"\1", quoted[1].replace(b"\r\n", b"")))
            at = quoted.end()
        elif raw.startswith(b"(", at):
            at = _after_comment(raw, at)
        elif raw.startswith(b";", at):
            return b"".join(words), at + 1
        else:  # "=", or a bracket without its partner
            words.append(raw[at : at + 1])
            at += 1
    return b"".join(words), at


def _end(pattern: re.Pattern[bytes], raw: bytes, at: int) -> int:
    found = pattern.match(raw, at)
    return found.end() if found else at


def _after_comment(raw: bytes, at: int) -> int:
    """Return the offset behind the comment that opens at ``at``; comments may hold others (RFC 5322 3.2.2)."""
    depth = 0
    for mark in _IN_COMMENT.finditer(raw, at):
        depth += 1 if mark[0] == b"(" else -1 if mark[0] == b")" else 0
        if depth == 0:
            return mark.end()
    return len(raw)
