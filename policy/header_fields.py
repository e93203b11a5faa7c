"""Header fields that the service adds to a message in its own name, each exactly once, and those that it takes out.

A field of the same name set by the application is replaced: with two fields of one name receivers would choose which
one to believe. What is taken out is said in ``config.header_fields``.

Invariants: no other field is touched; no line is longer than RFC 5322 allows (998 octets without its CRLF).

Limitations: a single word longer than that cannot be folded and is an internal error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from config.header_fields import OPTION_PREFIX, OnSubmission, names_of
from mta.mail.headers import Headers, unfold, without_comments
from mta.mail.message import Message
from mta.mail.values import replace

LINE = 78  # octets that a line should not exceed, RFC 5322 2.1.1
LONGEST = 998  # and must not


OPTION = OPTION_PREFIX.lower().encode()
_REMOVED = names_of(OnSubmission.REMOVE)
_OURS = names_of(OnSubmission.OURS)
_FORGED = names_of(OnSubmission.FORGED)
NOT_ALWAYS_LEAVING = _REMOVED | _OURS | _FORGED
_INSTANCE = re.compile(r"i=\d+\s*;")  # RFC 8617 4.1.1
_ARC = b"arc-"


class StampError(ValueError):
    """A field that cannot be written."""


def fold(name: str, words: list[str]) -> bytes:
    """A field of printable ASCII, without its last CRLF, folded between ``words`` where lines would grow too long."""
    written, column = f"{name}:", len(name) + 1
    for n, word in enumerate(words):
        if not word.isascii() or not word.isprintable() or not word:
            raise StampError(f"{name}: {word!r} is not printable ASCII")
        if n and column + 1 + len(word) > LINE:
            written, column = f"{written}\r\n", 0
        written += f" {word}"
        column += 1 + len(word)
        if column > LONGEST:
            raise StampError(f"{name}: a line of more than {LONGEST} octets")
    return written.encode()


def stamp(message: Message, fields: Sequence[tuple[bytes, bytes]]) -> Message:
    """``message`` with ``fields`` (name in lower case, raw field) on top, in place of all that it had under their
    names."""
    names = {name for name, _ in fields}
    old = message.headers
    kept = [field for field in old.fields if field[0] not in names]
    written = (*fields, *kept)
    if len(kept) == len(old.fields):
        head = b"".join([raw + b"\r\n" for _, raw in fields]) + message.head
    else:
        head = b"".join([raw + b"\r\n" for _, raw in written]) + b"\r\n"
    return replace(message, head=head, headers=Headers(written, len(head)))


def outgoing_fields(
    headers: Headers, host_names: frozenset[str], *, submitted: bool
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Return the fields that may leave, and the names of those that may not, options not among them.

    ``host_names``: by which this host could be named as a verifier. ``submitted``: by a client, who must not speak for
    this service; else others' fields of the names that we use stay.
    """
    forged = {raw for name, raw in headers.fields if name in _FORGED and _names_host(raw, host_names)}
    no_arc = any(raw.lower().startswith(_ARC) for raw in forged)  # a set of ARC fields stands or falls together
    kept: list[tuple[bytes, bytes]] = []
    removed: list[bytes] = []
    for name, raw in headers.fields:
        if name in _REMOVED or (submitted and name in _OURS) or raw in forged or (no_arc and name.startswith(_ARC)):
            removed.append(name)
        elif not submitted or not name.startswith(OPTION):
            kept.append((name, raw))
    return kept, removed


def _names_host(raw: bytes, host_names: frozenset[str]) -> bool:
    """Return whether an Authentication-Results field, or ARC's, is by one of these hosts (RFC 8601 2.2)."""
    value = without_comments(unfold(raw.partition(b":")[2])).strip()
    if instance := _INSTANCE.match(value):
        value = value[instance.end() :].strip()
    host = re.split(r"[\s;]", value, maxsplit=1)[0]
    return host.strip('"').rstrip(".").lower() in host_names


def named(fields: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Raw fields, each with its name in lower case."""
    return [(raw.partition(b":")[0].rstrip(b" \t").lower(), raw) for raw in fields]
