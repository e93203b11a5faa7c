"""A message in seven bits reads the same; what must not be changed is not."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from mta.mail.encoded_words import NotEncodable
from mta.submission.seven_bit import to_seven_bit

INPUTS = Path(__file__).parents[3] / "cases" / "inputs"


def parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def leaves(content: bytes) -> list[tuple[str, object, str | None]]:
    return [
        (part.get_content_type(), part.get_content(), part.get_filename())
        for part in parsed(content).walk()
        if not part.is_multipart()
    ]


def multipart(kind: str, *parts: str) -> bytes:
    inside = "".join(f"--b1\r\n{part}\r\n" for part in parts)
    return f'MIME-Version: 1.0\r\nContent-Type: {kind}; boundary="b1"\r\n\r\nprä\r\n{inside}--b1--\r\nepi\r\n'.encode()


TEXT = (
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n.\r\nFrom here = \r\n"
)
NAMED = 'Content-Type: application/x-y\r\nContent-Disposition: attachment; filename="Ä.bin"\r\n\r\nxÄy'


@pytest.mark.parametrize(
    "content",
    [
        (INPUTS / "P8-no-8bitmime.eml").read_bytes(),
        multipart("multipart/mixed", TEXT, NAMED, "Content-Type: text/html; charset=utf-8\r\n\r\n<p>ü</p>"),
        multipart("multipart/mixed", "\r\nplain", TEXT),
        multipart("multipart/mixed", "Content-Type: message/rfc822\r\n\r\nSubject: Grüße\r\n" + TEXT),
        ("Content-Type: text/plain; charset=utf-8\r\n\r\n" + "ü" * 2000 + "\r\n").encode(),
        multipart("multipart/mixed", "Content-Type: text/plain; charset=utf-8\r\n\r\n" + "ü" * 200),
    ],
    ids=["case", "parts", "plain beside", "message", "long", "without a line end"],
)
def test_it_reads_the_same(content: bytes) -> None:
    encoded = to_seven_bit(content)
    assert encoded.isascii()
    assert max(map(len, encoded.split(b"\r\n"))) <= 998
    assert encoded.count(b"\n") == encoded.count(b"\r\n")
    for before, after in zip(leaves(content), leaves(encoded), strict=True):
        if before[0].startswith("text/"):
            assert str(after[1]).replace("\r\n", "\n") == str(before[1]).replace("\r\n", "\n")
        assert after[0] == before[0]
        assert after[2] == before[2]


def test_what_stands_around_the_parts_is_kept_octet_for_octet() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b1\r\n\r\nhi\r\n--b1\r\n--b1 \t\r\n\r\n\xe4\r\n--b1-- \r\nend"
    head, tail = b"\r\nhi\r\n--b1\r\n--b1 \t\r\n", b"\r\n--b1-- \r\nend"
    encoded = to_seven_bit(content)
    assert head in encoded
    assert encoded.endswith(tail)


def test_octets_that_are_no_text_stay_what_they_are() -> None:
    octets = bytes(range(1, 10)) + bytes(range(128, 256))
    content = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" + octets
    encoded = parsed(to_seven_bit(content))
    assert encoded.get_payload(decode=True) == octets
    assert encoded.get_all("content-transfer-encoding") == ["base64"]


def test_seven_bits_stay_as_they_are() -> None:
    content = multipart("multipart/mixed", "\r\nplain").replace("ä".encode(), b"a")
    assert to_seven_bit(content) is content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (multipart("multipart/signed", TEXT), "multipart/signed must not be changed"),
        (b"Content-Type: multipart/mixed\r\n\r\n\xe4\r\n", "parts of a multipart begin is not clear"),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n\xe4\r\n", "parts of a multipart begin is not clear"),
        ('Content-Type: multipart/mixed; boundary="ä"\r\n\r\n--ä\r\n\r\n--ä--\r\n'.encode(), "boundary is not ASCII"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\xe4\r\n", "a part in base64"),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\xe4\r\n", "structure is not clear"),
    ],
)
def test_what_must_not_be_changed_is_left(content: bytes, told: str) -> None:
    with pytest.raises(NotEncodable, match=told):
        to_seven_bit(content)
