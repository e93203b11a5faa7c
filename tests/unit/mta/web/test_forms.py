"""The pair of RFC 8058 is found however a form is written, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.web.forms import MAX_FIELDS, read_form

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"
ONE_CLICK = (("List-Unsubscribe", "One-Click"),)
RFC_8058 = (  # section 8.2
    b"---FormBoundaryjWmhtjORrn\r\n"
    b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
    b"One-Click\r\n"
    b"---FormBoundaryjWmhtjORrn--\r\n"
)


def multipart(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + end


PART = b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe=One-Click\r\n"),
        (URLENCODED, b"\nList-Unsubscribe=One-Click&"),
        (f"{URLENCODED}; charset=UTF-8", b"List-Unsubscribe=One-Click"),
        (URLENCODED.upper(), b"List%2DUnsubscribe=One%2dClick"),
        ("", b"List-Unsubscribe=One-Click"),
        ("text/plain;charset=UTF-8", b"List-Unsubscribe=One-Click"),
        ("text/plain", b"List-Unsubscribe=One-Click\r\n"),
        ("multipart/form-data; boundary=-FormBoundaryjWmhtjORrn", RFC_8058),
        ("multipart/form-data", multipart(PART)),
        ("multipart/mixed; boundary=b", multipart(PART)),
        ('multipart/form-data; boundary="b"', multipart(PART)),
        ("multipart/form-data; charset=utf-8; boundary*=us-ascii''b", multipart(PART)),
        (MULTIPART, multipart(PART, end=b"--b--")),
        (MULTIPART, multipart(PART, end=b"")),
        (MULTIPART, multipart(PART).replace(b"\r\n", b"\n")),
        (MULTIPART, b"preamble\r\n" + multipart(PART) + b"epilogue"),
        (MULTIPART, multipart(PART.replace(b'"', b""))),
        (MULTIPART, multipart(PART + b"\r\n")),
        (MULTIPART, b"\r\n" + multipart(b"content-type: text/plain\r\n" + PART)),
        (MULTIPART, multipart(PART.replace(b"\r\n\r\n", b"; filename=x\r\n\r\n"))),
        (MULTIPART, multipart(b"Content-Transfer-Encoding: 8bit\r\n" + PART)),
        (MULTIPART, multipart(b"Content-Transfer-Encoding: BASE64\r\n" + PART.replace(b"One-Click", b"T25lLUNsaWNr"))),
        (MULTIPART, multipart(b"content-transfer-encoding:quoted-printable\r\n" + PART.replace(b"-C", b"=2DC"))),
    ],
)
def test_one_click(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) == ONE_CLICK


def test_fields_in_their_order() -> None:
    assert read_form(URLENCODED, b"b=2&a=1&b=") == (("b", "2"), ("a", "1"), ("b", ""))
    second = b'Content-Disposition: form-data; name="a"\r\n\r\n1'
    assert read_form(MULTIPART, multipart(PART, second)) == (*ONE_CLICK, ("a", "1"))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        ("text/html", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"List-Unsubscribe"),
        (URLENCODED, b""),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=c", multipart(PART)),
        (MULTIPART, multipart(PART.replace(b" name", b" filename"))),
        (MULTIPART, multipart(b"One-Click")),
    ],
)
def test_no_field(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) == ()


def test_no_more_than_so_many_fields() -> None:
    assert len(read_form(URLENCODED, b"a=1&" * 1000)) == MAX_FIELDS
    assert len(read_form(MULTIPART, multipart(*[PART] * 1000))) == MAX_FIELDS


@given(st.sampled_from([URLENCODED, MULTIPART]) | st.text(max_size=80), st.binary(max_size=300))
def test_never_raises(content_type: str, body: bytes) -> None:
    for content in (body, multipart(body), multipart(PART, body)):
        assert all(len(field) == 2 for field in read_form(content_type, content))
