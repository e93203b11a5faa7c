"""Mail that came back is taken apart within bounds, whoever wrote it."""

from __future__ import annotations

import pytest

from bounce.parsers.mime import (
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_PARTS,
    MAX_TEXT,
    decode_words,
    parse_mail,
    read_fields,
    visible,
)


def test_parts_in_order() -> None:
    mail = parse_mail(
        b"Content-Type: multipart/report; boundary=a; report-type=Delivery-Status\n\npreface\n"
        b"--a\n\nplain\n--a\nContent-Type: multipart/alternative; boundary=ab\n\n"
        b"--ab\nContent-Type: text/html\n\n<p>one</p>\n--ab--\n--a\nContent-Type: message/rfc822\n\n"
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\ninside\n--x--\n--a--\nepilogue\n"
    )
    assert [part.type for part in mail.parts] == ["text/plain", "text/html", "message/rfc822"]
    assert mail.parts[0].text == "plain"
    assert mail.parts[1].text.strip() == "one"
    assert b"inside" in mail.parts[2].body
    assert mail.parameters["report-type"] == "Delivery-Status"


def test_a_missing_boundary_is_looked_for() -> None:
    mail = parse_mail(
        b"Content-Type: multipart/report\n\nx\n--=_12345\nContent-Type: text/plain\n\nhello\n--=_12345--\n"
    )
    assert [part.text for part in mail.parts] == ["hello"]


def test_bounds() -> None:
    many = parse_mail(b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1000)
    assert len(many.parts) < MAX_PARTS
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(500))
    assert len(parse_mail(nested).parts) <= MAX_DEPTH
    assert len(read_fields(b"A: b\n" * 5000).all) == MAX_FIELDS
    assert len(parse_mail(b"\n" + b"x" * 300_000).parts[0].text) == MAX_TEXT


@pytest.mark.parametrize(
    ("header", "body", "text"),
    [
        (b"Content-Type: text/plain; charset=iso-2022-jp", b"\x1b$B%(%i!<\x1b(B", "エラー"),
        (b"Content-Transfer-Encoding: base64", b"Z3L8bg==", "grün"),
        (b"Content-Transfer-Encoding: quoted-printable", b"gr=C3=BCn=\n", "grün"),
        (b"Content-Type: text/plain; charset=no-such-thing", b"gr\xc3\xbcn", "grün"),
        (b"Content-Type: text/plain; charset=punycode", b"abc", "abc"),
        (b"Content-Type: text/plain; charset=utf-8", b"a\x00b\xc2\xa0c", "ab c"),
        (b'Content-Type: text/plain\n  charset="utf-8"', b"x", "x"),
    ],
)
def test_text(header: bytes, body: bytes, text: str) -> None:
    assert parse_mail(header + b"\n\n" + body).parts[0].text == text


def test_fields() -> None:
    fields = read_fields(b"From x\nSubject: a\n b\nno field\nX: \nTo: c\n")
    assert fields.get("subject") == "a b"
    assert fields.get("x") is None
    assert fields.has("x")
    assert fields.each("to") == ["c"]


def test_encoded_words() -> None:
    assert decode_words("=?utf-8?q?gr=C3=BCn_?= =?iso-8859-1?B?4A==?= x") == "grün à x"
    assert decode_words("=?utf-8?q?") == "=?utf-8?q?"


def test_visible_text() -> None:
    assert visible("<style>p{}</style><p>a&amp;b<br>c</p><script>d</script>e").split() == ["a&b", "c", "e"]
