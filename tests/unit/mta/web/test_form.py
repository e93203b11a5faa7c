"""Forms, in both ways of posting them, whole or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.web.form import read_form

URLENCODED = "application/x-www-form-urlencoded"
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
        (f"{URLENCODED}; charset=UTF-8", b"List-Unsubscribe=One-Click"),
        (URLENCODED.upper(), b"List%2DUnsubscribe=One%2dClick"),
        ("multipart/form-data; boundary=-FormBoundaryjWmhtjORrn", RFC_8058),
        ('multipart/form-data; boundary="b"', multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(PART, end=b"--b--")),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b'"', b""))),
        ("multipart/form-data; boundary=b", b"\r\n" + multipart(b"content-type: text/plain\r\n" + PART)),
    ],
)
def test_one_click(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) == ONE_CLICK


def test_fields_in_their_order() -> None:
    assert read_form(URLENCODED, b"b=2&a=1&b=") == (("b", "2"), ("a", "1"), ("b", ""))
    second = b'Content-Disposition: form-data; name="a"\r\n\r\n1'
    assert read_form("multipart/form-data; boundary=b", multipart(PART, second)) == (*ONE_CLICK, ("a", "1"))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b"List-Unsubscribe=One-Click"),
        ("text/plain", b"List-Unsubscribe=One-Click"),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        (URLENCODED, b"List-Unsubscribe"),
        (URLENCODED, b"a=%ff"),
        (URLENCODED, b"a=\xc3\xa9"),
        (URLENCODED, b"&".join(b"a=1" for _ in range(11))),
        ("multipart/form-data", multipart(PART)),
        ("multipart/form-data; boundary=c", multipart(PART)),
        ("multipart/form-data; boundary=\u00e9", multipart(PART)),
        (f"multipart/form-data; boundary={'b' * 71}", multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(PART, end=b"")),
        ("multipart/form-data; boundary=b", b"preamble\r\n" + multipart(PART)),
        ("multipart/form-data; boundary=b", multipart(*[PART] * 11)),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b"name", b"filename"))),
        ("multipart/form-data; boundary=b", multipart(PART.replace(b"\r\n\r\n", b"; filename=x\r\n\r\n"))),
        ("multipart/form-data; boundary=b", multipart(b"Content-Transfer-Encoding: base64\r\n" + PART)),
        ("multipart/form-data; boundary=b", multipart(b"One-Click")),
    ],
)
def test_no_form(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body) is None


@given(st.sampled_from([URLENCODED, "multipart/form-data; boundary=b"]) | st.text(max_size=80), st.binary(max_size=300))
def test_never_raises(content_type: str, body: bytes) -> None:
    for content in (body, multipart(body), multipart(PART, body)):
        form = read_form(content_type, content)
        assert form is None or all(len(field) == 2 for field in form)
