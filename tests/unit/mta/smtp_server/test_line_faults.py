"""A message is rejected for one line of it, and the reply says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.schema import Limits
from mta.smtp_server.message_syntax import message_fault

INPUTS = Path(__file__).parents[3] / "cases" / "inputs"


def told(content: bytes) -> str:
    reply = message_fault(content, Limits())
    assert reply is not None
    assert (reply.code, reply.status) == (554, "5.6.0")
    return reply.text


def test_a_long_line_is_named_with_its_field_and_length() -> None:
    text = told((INPUTS / "P2-long-line.eml").read_bytes())
    assert text == "Line too long: line 7, field References, 1043 octets; at most 998 are allowed"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"A: b\r\nLong:\r\n " + b"x" * 998 + b"\r\n\r\n", "line 3, field Long, 999 octets"),
        (b"A: b\r\n\r\nshort\r\nC: " + b"x" * 1000 + b"\r\n", "line 4, 1003 octets"),
        (b"x" * 1000 + b"\r\n", "line 1, 1000 octets"),
    ],
)
def test_long_lines(content: bytes, place: str) -> None:
    assert told(content).startswith(f"Line too long: {place};")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"A: b\nC: d\n\nbody\n", "<LF> in line 1, field A"),
        (b"A: b\r\nC: d\n e\r\n\r\n", "<LF> in line 2, field C"),
        (b"A: b\r\nC: d\r e\r\n\r\n", "<CR> in line 2, field C"),
        (b"A: b\r\nC: d\r\n e\0\r\n\r\n", "NUL in line 3, field C"),
        (b"A: b\r\n\r\nC: d\r\n\nx\r\n", "<LF> in line 4"),
        (b"A: b\r\n\r\nC: d\r\nx\r", "<CR> in line 4"),
        (b"\nA: b\r\n\r\n", "<LF> in line 1"),
        (b"\0", "NUL in line 1"),
    ],
)
def test_bare_line_ends(content: bytes, what: str) -> None:
    assert told(content).startswith(f"Message contains bare <CR>, bare <LF> or NUL: {what}; ")


def test_the_cure_is_told() -> None:
    assert told(b"A: b\n\nc\n").endswith(
        "end each line with <CR><LF> (Python: send_message(), or as_bytes(policy=email.policy.SMTP))"
    )
