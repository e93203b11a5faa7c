"""MIME values are read in every spelling, and never at more than linear cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.mime_value import MAX_PARAMETERS, parse_mime_value


@pytest.mark.parametrize(
    ("raw", "kind", "parameters"),
    [
        (b" text/plain", "text/plain", ()),
        (b' Text/HTML ; Charset = "UTF-8" ', "text/html", (("charset", b"UTF-8"),)),
        (b'(a (b) \\) c) attachment; filename="a\\"b;c.exe"', "attachment", (("filename", b'a"b;c.exe'),)),
        (b'a; name*0=x; name*1="y z"', "a", (("name", b"xy z"),)),
        (b"a; name*=utf-8'de'%c3%a4", "a", (("name", b"\xc3\xa4"),)),
        (b"a; name*0*=utf-8''%c3; name*1*=%a4; name*2=%20", "a", (("name", b"\xc3\xa4%20"),)),
        (b"a; name=x; name=y; name*=''z", "a", (("name", b"x"), ("name", b"y"), ("name", b"z"))),
        (b"", "", ()),
    ],
)
def test_values(raw: bytes, kind: str, parameters: tuple[tuple[str, bytes], ...]) -> None:
    value = parse_mime_value(raw)
    assert (value.kind, value.parameters) == (kind, parameters)


def test_a_contradiction_can_be_seen() -> None:
    assert parse_mime_value(b"a; b=1; b*0=2; b=1").all("b") == (b"1", b"2")


@given(st.binary(max_size=300))
def test_any_value_is_read(raw: bytes) -> None:
    value = parse_mime_value(raw)
    assert sum(len(octets) for _, octets in value.parameters) <= len(raw)


def test_long_values_are_read() -> None:
    for raw in (b"x" + b"; name*%d=a" * 1000, b"(" * 5000, b'"\\' * 3000, b"x; " + b"= " * 3000):
        assert len(parse_mime_value(raw).parameters) <= MAX_PARAMETERS
