"""Header fields that the service adds to a message in its own name, each exactly once.

A field of the same name set by the application is replaced, or the message rejected, as the profile says: with two
fields of one name receivers would choose which one to believe.

Invariants: no other field is touched; no line is longer than RFC 5322 allows (998 octets without its CRLF).

Limitations: a single word longer than that cannot be folded and is an internal error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from mta.mail.headers import Headers
from mta.mail.message import Message
from mta.mail.reply import Reply
from policy.base import Refuse

LINE = 78  # octets that a line should not exceed, RFC 5322 2.1.1
LONGEST = 998  # and must not

Own = Literal["replace", "refuse"]


class StampError(ValueError):
    """A field that cannot be written."""


def fold(name: str, words: list[str]) -> bytes:
    """A field of printable ASCII, without its last CRLF, folded between ``words`` where lines would grow too long."""
    lines = [f"{name}:"]
    for word in words:
        if not word.isascii() or not word.isprintable() or not word:
            raise StampError(f"{name}: {word!r} is not printable ASCII")
        if len(lines[-1]) + 1 + len(word) > LINE and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {word}"
    if max(len(line) for line in lines) > LONGEST:
        raise StampError(f"{name}: a line of more than {LONGEST} octets")
    return "\r\n".join(lines).encode()


def stamp(message: Message, *fields: bytes) -> Message:
    """``message`` with ``fields`` on top, in place of all that it had under their names."""
    added = tuple((name_of(raw), raw) for raw in fields)
    names = {name for name, _ in added}
    block = b"".join(raw + b"\r\n" for raw in fields)
    old = message.headers
    kept = tuple(field for field in old.fields if field[0] not in names)
    if len(kept) == len(old.fields):
        content, size = block + message.content, old.size + len(block)
    else:
        block += b"".join(raw + b"\r\n" for _, raw in kept) + b"\r\n"
        content, size = block + message.content[old.size :], len(block)
    return replace(message, content=content, headers=Headers(added + kept, size))


def name_of(raw: bytes) -> bytes:
    """The name of a raw field, in lower case."""
    return raw.partition(b":")[0].rstrip(b" \t").lower()


def refusal_of_own(rule: str, message: Message, own: Own, *names: str) -> Refuse | None:
    """The refusal if the application wrote one of these fields itself and may not."""
    if own == "replace":
        return None
    found = [name for name in names if message.headers.count(name.lower().encode())]
    if not found:
        return None
    text = f"{rule}: {', '.join(found)} is written by this service; leave it out"
    return Refuse(Reply(550, "5.7.1", text))
