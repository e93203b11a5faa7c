"""Odd but legal messages, the same for the same seed: for comparing our signatures with those of others."""

from __future__ import annotations

import random

FIELDS = (
    b"From", b"from", b"FROM", b"To", b"tO", b"Cc", b"Subject", b"SUBJECT", b"Date", b"Reply-To", b"Message-ID",
    b"MIME-Version", b"Content-Type", b"List-Unsubscribe", b"List-Unsubscribe-Post", b"List-Id", b"Feedback-ID",
    b"Received", b"X-Mailer", b"x-weird!name", b"Sender", b"References", b"DKIM-Signature", b"Return-Path",
)  # fmt: skip
WORDS = (
    b"a", b"word", b"=20", b"Gr\xc3\xbc\xc3\x9fe", b"\xff\xfe", b";", b"b=", b": x", b"<ann@example.com>", b'"q"',
    b"=?utf-8?q?x?=", b"http://example.com/?a=1&b=2", b"l=10", b"\x7f", b"x" * 90,
)  # fmt: skip
BLANKS = (b" ", b" ", b" ", b"  ", b"\t", b" \t ", b"", b"          ")
FOLDS = (b" ", b" ", b"  ", b"\t", b"\r\n ", b"\r\n\t", b" \r\n  ", b"\r\n \r\n\t", b"")
BODY_LINES = (
    b"", b"", b" ", b"\t", b" \t ", b".", b"..", b"text", b"text ", b"  text", b"te  xt\t", b"\tx\ty", b"a b  c   d",
    b"x" * 998, b"\xe4\xf6 \xfc", b"=20=", b"\x0b", b"\x0c ", b" \x0c", b"-- ", b"        <td>", b" " * 77,
)  # fmt: skip


def odd_message(seed: int, *, without: frozenset[bytes] = frozenset()) -> bytes:
    """A message with at least one From, CRLF line ends throughout, no bare CR, LF or NUL.

    ``without``: names, in lower case, of fields to leave out (From: have only one).
    """
    chance = random.Random(seed)
    names = [name for name in FIELDS if name.lower() not in without]
    fields = [_field(chance, chance.choice(names)) for _ in range(chance.choice((0, 2, 5, 9, 40)))]
    fields.insert(chance.randint(0, len(fields)), b"From:" + chance.choice(BLANKS) + b"Ann <ann@example.com>")
    header = b"".join(field + b"\r\n" for field in fields)
    shape = chance.random()
    if shape < 0.03:
        return header  # no empty line, no body
    return header + b"\r\n" + (b"" if shape < 0.1 else _body(chance))


def _field(chance: random.Random, name: bytes) -> bytes:
    value = b""
    for _ in range(chance.choice((0, 1, 1, 3, 8, 30))):
        value += chance.choice(FOLDS) + chance.choice(WORDS)
    return name + b":" + value + chance.choice(BLANKS)


def _body(chance: random.Random) -> bytes:
    lines = chance.choices(BODY_LINES, k=chance.choice((0, 1, 3, 10, 60)))
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" * chance.choice((0, 0, 1, 2, 50))
