"""What we wrote into a message and find again in what comes back about it: our tokens, return paths and ids.

Tokens and return paths are sealed: wherever they stand, nobody but us can have made them. An id in a Received field is
only a hint, to be checked against what the sealed traces say.

It must never take for ours what is not sealed by us.

*Limits.* Whoever has got a message of ours has its token, and can hand it to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bounce.parsers.report_kinds import Original
from bounce.verp import PREFIX, ReturnPath, Verp
from mta.mail.address import Address
from mta.mail.identity import MessageId, parse_id
from policy.permission.tokens import Claim, Tokens

LOOKED_AT = 1 << 20  # octets
MOST = 20  # candidates of each kind that are tried

_PATH = re.compile(rb"(?i)" + re.escape(PREFIX.encode()) + rb"([0-9a-z]{47})@([a-z0-9.-]{1,253})")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]{40,1000}")
_OUR_ID = re.compile(r"\bid ([0-9a-hjkmnp-tv-z]{26})\b")


@dataclass(frozen=True, slots=True)
class Traces:
    """``claim``: what a token of ours says; ``path``: what a return path of ours says; ``ids``: what messages of ours
    it may be about, as Received fields claim."""

    claim: Claim | None = None
    path: ReturnPath | None = None
    ids: tuple[MessageId, ...] = ()

    @property
    def ours(self) -> bool:
        return self.claim is not None or self.path is not None


def in_report(content: bytes, original: Original, tokens: Tokens, verp: Verp | None, now: datetime) -> Traces:
    """The traces in the returned header; the return path also elsewhere in the report (Original-Mail-From)."""
    return Traces(
        _claim(_in_fields(original), tokens),
        _path(content[:LOOKED_AT], verp, now),
        tuple(_ids(original)),
    )


def token_in(text: str, tokens: Tokens) -> Claim | None:
    """What the first token of ours in ``text`` says. White space does not count: long subjects are folded."""
    return _claim(_words("".join(text.split()).encode()), tokens)


def _in_fields(original: Original) -> Iterator[str]:
    for value in (original.cfbl_feedback_id, original.list_unsubscribe):
        yield from _words((value or "").encode())


def _words(text: bytes) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        yield match[0].decode()


def _claim(words: Iterator[str], tokens: Tokens) -> Claim | None:
    for _, word in zip(range(MOST), words, strict=False):
        if claim := tokens.read(word):
            return claim
    return None


def _path(content: bytes, verp: Verp | None, now: datetime) -> ReturnPath | None:
    if verp is None:
        return None
    for _, match in zip(range(MOST), _PATH.finditer(content), strict=False):
        read = verp.read(Address(PREFIX + match[1].decode(), match[2].decode().lower()), now)
        if isinstance(read, ReturnPath):
            return read
    return None


def _ids(original: Original) -> Iterator[MessageId]:
    for value in original.fields.each("received")[:MOST]:
        if match := _OUR_ID.search(value):
            try:
                yield parse_id(match[1])
            except ValueError:
                continue
