from __future__ import annotations

import pytest

from mta.mail.headers import HeaderError, Headers, unfold


def test_keeps_every_field_as_it_came() -> None:
    content = b"From: a@example.com\r\nSubject: one\r\n\ttwo\r\nfrom : b@example.com\r\n\r\nbody\r\n"
    headers = Headers.split(content)
    assert [name for name, _ in headers.fields] == [b"from", b"subject", b"from"]
    assert headers.fields[1][1] == b"Subject: one\r\n\ttwo"
    assert headers.value(b"subject") == "one\ttwo"
    assert headers.count(b"from") == 2
    assert content[headers.size :] == b"body\r\n"


@pytest.mark.parametrize(
    ("content", "fields", "body"),
    [(b"", 0, b""), (b"\r\nbody", 0, b"body"), (b"A: b\r\n", 1, b""), (b"A: b\r\n\r\n", 1, b""), (b"A: b", 1, b"")],
)
def test_odd_but_legal_shapes(content: bytes, fields: int, body: bytes) -> None:
    headers = Headers.split(content)
    assert len(headers.fields) == fields
    assert content[headers.size :] == body


@pytest.mark.parametrize("line", [b" folded: first", b"no colon", b"B\xc3\xa4d: x", b": x", b"a b: x"])
def test_refuses_what_is_no_header(line: bytes) -> None:
    with pytest.raises(HeaderError):
        Headers.split(line + b"\r\n\r\n")


def test_unfolding_never_fails_on_bytes() -> None:
    assert unfold(b" a\r\n \xff ") == "a \ufffd"
