"""Nesting and parts are counted, in linear time, without recursion (S15)."""

from __future__ import annotations

import re
from itertools import product

import pytest

from config.schema import Limits
from mta.smtp_server.message_syntax import MAX_HYPHEN_LINES, message_fault

HYPHENS = f"Too many possible MIME boundaries: more than {MAX_HYPHEN_LINES} lines begin with two hyphens"
LIMITS = Limits(mime_depth=5, mime_parts=10)


def fault(content: bytes, limits: Limits = LIMITS) -> str | None:
    refusal = message_fault(content, limits)
    return refusal.text if refusal else None


def multipart(boundary: str, *parts: bytes, kind: str = "mixed") -> bytes:
    inside = b"".join(f"--{boundary}\r\n".encode() + part for part in parts)
    return (
        f'Content-Type: multipart/{kind}; boundary="{boundary}"\r\n\r\n'.encode()
        + inside
        + f"--{boundary}--\r\n".encode()
    )


TEXT = b"Content-Type: text/plain\r\n\r\nhello\r\n"


def nested(depth: int) -> bytes:
    inner = TEXT
    for level in range(depth):
        inner = multipart(f"b{level}", inner)
    return inner


def test_an_ordinary_message_is_not_looked_into() -> None:
    assert fault(b"Subject: x\r\n\r\n" + b"--b\r\n" * 100) is None
    assert fault(b"Subject: x\r\nContent-Type: text/html\r\n\r\n" + b"--b\r\n" * 100) is None


def test_depth() -> None:
    assert fault(nested(5)) is None
    assert fault(nested(6)) == "MIME parts nested too deep: more than 5 levels"


def test_messages_within_messages() -> None:
    content = TEXT
    for _ in range(5):
        content = b"Content-Type: message/rfc822\r\n\r\n" + content
    assert fault(content) is None
    assert fault(b"Content-Type: message/rfc822\r\n\r\n" + content) == "MIME parts nested too deep: more than 5 levels"


def test_messages_and_multiparts_within_each_other() -> None:
    content = nested(2)
    for level in range(2):
        content = multipart(f"o{level}", b"Content-Type: message/rfc822\r\nX: y\r\n\r\n" + content)
    assert fault(content) == "MIME parts nested too deep: more than 5 levels"
    assert fault(content, Limits(mime_depth=6)) is None


def test_parts() -> None:
    assert fault(multipart("b", *[TEXT] * 10)) is None
    assert fault(multipart("b", *[TEXT] * 11)) == "Too many MIME parts: more than 10"


def test_parts_side_by_side_are_not_nested() -> None:
    """What was opened in one part is closed by the next."""
    inner = [multipart(f"i{n}", TEXT, kind="alternative") for n in range(3)]
    assert fault(multipart("o", *inner), Limits(mime_depth=2, mime_parts=6)) is None
    unclosed = [part.replace(b"--i", b"--j").replace(b"--\r\n", b"\r\n") for part in inner]
    assert fault(multipart("o", *unclosed), Limits(mime_depth=2)) is None


@pytest.mark.parametrize(
    "written",
    [
        "boundary=b1",
        'boundary="b1"',
        'charset=x;\r\n\tBOUNDARY = "b1"',
        "boundary=b1; x=y",
        "boundary*=us-ascii'en'b1",
        "boundary*=us-ascii'en'%62%31",
        "boundary*0=b; boundary*1=1",
        "boundary*1=1; boundary*0=b",
        "boundary*0*=us-ascii''%62; boundary*1=1",
        'boundary="\\b1"',
        'boundary="b\r\n 1"; boundary=b1',
        "boundary=other; boundary=b1",
        "boundary=b1; boundary=other",
        "boundary=(a (nested) comment) b1",
        "boundary (x) = (y) b1 (z)",
        'x="; boundary=other"; boundary=b1',
        'x="a\\"; boundary=other"; boundary=b1',
        'boundary="b1',
        'boundary="b1 "',
        ";;boundary=b1;;",
    ],
)
def test_boundaries_as_they_are_written(written: str) -> None:
    content = f"content-TYPE : Multipart/Mixed; {written}\r\n\r\n".encode() + b"--b1 \t\r\n\r\n\r\n" * 11
    assert fault(content) == "Too many MIME parts: more than 10"


def test_lines_with_hyphens_that_are_no_boundary() -> None:
    signature = b"Content-Type: text/plain\r\n\r\nhello\r\n-- \r\nAnn\r\n--bb\r\n--b-\r\n---\r\n"
    assert fault(multipart("b", *[signature] * 10)) is None


def test_a_boundary_that_is_not_there() -> None:
    assert fault(b"Content-Type: multipart/mixed\r\n\r\n" + b"--\r\n" * 50) is None


DEEP = "MIME parts nested too deep: more than 200 levels"
MANY = "Too many MIME parts: more than 100000"


@pytest.mark.parametrize(
    ("bomb", "expected"),
    [
        (nested(3000), DEEP),
        (multipart("b", *[TEXT] * 100_001), MANY),
        (
            b"--\r\n" * (MAX_HYPHEN_LINES + 1),
            HYPHENS,
        ),
        (b"--b\r\nContent-Type: message/rfc822\r\n\r\n" * 50_000, None),
        (b"Content-Type: message/rfc822\r\n\r\n" * 30_000, DEEP),
        (b"X-Parameters: x" + b";\r\n boundary" * 50_000, None),
    ],
    ids=["nested", "parts", "hyphens", "messages in parts", "messages", "parameters"],
)
def test_mime_bombs_take_linear_time(bomb: bytes, expected: str | None) -> None:
    """Without recursion and in linear time: were it not so, this would end by the test's time limit."""
    limits = Limits(mime_depth=200, mime_parts=100_000, header_size="64MiB", header_count=10_000_000)
    if not bomb.startswith(b"Content-Type"):
        bomb = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + bomb
    assert fault(bomb, limits) == expected


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Type: multipart/mixed; boundary=b1",
        "Content-Type: (comment) multipart / (c) mixed; boundary=b1",
        "Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b1",
        "Content-Type: multipart/mixed; boundary=b1\r\nContent-Type: text/plain",
        "X-A: b\r\nContent-Type\t: multipart/mixed;\r\n boundary=b1",
    ],
)
def test_types_as_they_are_written(fields: str) -> None:
    content = f"{fields}\r\n\r\n".encode() + b"--b1\r\n\r\n\r\n" * 11
    assert fault(content) == "Too many MIME parts: more than 10"


def test_a_type_too_long_to_be_read() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b1;\r\n" + b" x=y;\r\n" * 1000 + b"\r\n--b1\r\n\r\n"
    assert fault(content) == "Content-Type too long: more than 4000 octets"


def test_cr_and_lf_stand_together_in_whatever_order_octets_come() -> None:
    apart = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
    for octets in product((b"\r", b"\n", b"\r\n", b"a", b"\0", b"\xff"), repeat=5):
        content = b"".join(octets)
        assert ("bare <CR>" in (fault(content) or "")) == bool(apart.search(content)), content


def test_a_body_that_came_before_is_judged_with_its_header() -> None:
    body = nested(3).partition(b"\r\n\r\n")[2]
    kind = b'Content-Type: multipart/mixed; boundary="b2"\r\n'
    sound = kind + b"\r\n" + body
    for _ in range(3):
        assert fault(sound) is None
        assert fault(b"Subject: other\r\n" + sound) is None
    assert fault(sound, Limits(mime_depth=2, mime_parts=10)) == "MIME parts nested too deep: more than 2 levels"
    assert fault(sound, Limits(mime_depth=5, mime_parts=2)) == "Too many MIME parts: more than 2"
    assert fault(kind.replace(b"b2", b"b1") + b"\r\n" + body) is None
    for header, refusal in (
        (b"Subject: a\nb\r\n", "bare"),
        (b"Subject: a\0b\r\n", "NUL"),
        (b"Subject: " + b"a" * LIMITS.line_length + b"\r\n", "too long"),
        (b"Subject: a\r\n" * (LIMITS.header_count + 1), "Too many header fields"),
        (b"Subject: a\r\n a\r\n" + b" a\r\n" * LIMITS.header_size, "Header too large"),
    ):
        told = fault(header + sound)
        assert told is not None, header[:20]
        assert refusal in told
    for octet in (b"\n", b"\r", b"\0"):
        assert fault(sound.replace(b"hello", b"hel" + octet + b"o")) is not None
