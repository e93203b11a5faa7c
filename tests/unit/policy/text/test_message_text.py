"""What is read of a message: parts, charsets, links, pictures, attachments; and that nothing breaks it."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.text.message_text import Attachment, Image, Link, MessageText

SAMPLES = Path(__file__).parents[1] / "samples"


def html(body: str, head: str = "Content-Type: text/html; charset=utf-8") -> MessageText:
    return MessageText(f"{head}\r\n\r\n{body}".encode())


def parts(kind: str, *bodies: str) -> MessageText:
    joined = "".join(f"--b\r\n{body}\r\n" for body in bodies)
    return MessageText(f"Content-Type: multipart/{kind}; boundary=b\r\n\r\n{joined}--b--\r\n".encode())


PLAIN = "Content-Type: text/plain\r\n\r\nplain words"
HTML = "Content-Type: text/html\r\n\r\n<p>html words</p>"
PDF = 'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="a.pdf"\r\n\r\n%PDF'


def test_of_alternatives_the_last_is_seen() -> None:
    reading = parts("alternative", PLAIN, HTML)
    assert (reading.visible, reading.text, reading.html_text) == ("html words", "plain words", "html words")
    assert parts("alternative", HTML, PLAIN).visible == "plain words"
    assert parts("alternative", PLAIN, "Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR").visible == "plain words"


def test_parts_side_by_side_are_all_seen() -> None:
    assert parts("mixed", PLAIN, HTML).visible == "plain words\nhtml words"


def test_of_related_parts_the_first_is_seen() -> None:
    reading = parts("related", HTML, "Content-Type: image/png; name=a.png\r\n\r\nPNG", PLAIN)
    assert reading.visible == "html words"
    assert reading.attachments == (Attachment("a.png", "image/png", 3),)


def test_attached_text_is_not_seen() -> None:
    reading = parts("mixed", HTML, "Content-Disposition: attachment; filename=b.txt\r\n\r\nterms", PDF)
    assert reading.visible == "html words"
    assert [one.name for one in reading.attachments] == ["b.txt", "a.pdf"]


def test_attached_messages_are_attachments_and_so_is_what_they_hold() -> None:
    reading = parts("mixed", PLAIN, "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n" + PDF)
    assert reading.visible == "plain words"
    assert [one.type for one in reading.attachments] == ["message/rfc822", "application/pdf"]


def test_sizes_are_those_after_decoding() -> None:
    octets = random.Random(1).randbytes(10_000)
    body = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    reading = MessageText(b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + body)
    assert abs(reading.attachments[0].size - 10_000) <= 4


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("utf-8", "utf-8"), ("iso-8859-1", "latin-1"), ("iso-8859-1", "utf-8"), ("us-ascii", "utf-8"), ("nope", "utf-8"),
     ("WINDOWS-1252", "cp1252"), ('"iso-8859-15"', "iso-8859-15"), ("utf-16", "utf-16"), ("punycode", "utf-8"),
     ("rot13", "utf-8"), ("utf-7", "utf-8"), ("gb2312", "gb2312")],
)  # fmt: skip
def test_charsets(charset: str, codec: str) -> None:
    word = "中文" if codec == "gb2312" else "Müller, 8 €" if codec in ("cp1252", "iso-8859-15") else "Müller"
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    assert MessageText(head.encode() + word.encode(codec)).visible == word


def test_octets_that_mean_nothing_are_kept_as_such() -> None:
    reading = MessageText(b"Content-Type: text/plain; charset=utf-8\r\n\r\nab\xff\xfecd")
    assert reading.visible == "ab\ufffd\ufffdcd"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-unknown", "7bit", "binary"])
def test_broken_encodings_are_read_as_far_as_they_go(encoding: str) -> None:
    body = b"\xff=ZZ=\r\n====!!\x00\xfe garbage="
    reading = MessageText(b"Content-Transfer-Encoding: %s\r\n\r\n%s" % (encoding.encode(), body))
    assert isinstance(reading.visible, str)
    assert reading.structure_fault == ""


def test_links_with_their_words() -> None:
    reading = html(
        '<a href=" https://a.example/?x=1&amp;y=2 ">Un <b>sub</b>scribe</a><a name=x>no</a><a href="">no</a>'
    )
    assert reading.links == (Link("https://a.example/?x=1&y=2", "Un subscribe"),)
    hidden = '<div style="display:none"><a href="https://a.example/">x</a></div>'
    assert html(hidden).links == ()


def test_links_in_plain_text() -> None:
    reading = MessageText(b"\r\nLeave: https://a.example/u/1. Or (http://b.example/?q=a) or mailto:x@c.example, thanks")
    assert [link.url for link in reading.links] == [
        "https://a.example/u/1",
        "http://b.example/?q=a",
        "mailto:x@c.example",
    ]


def test_pictures() -> None:
    reading = html(
        '<img src="l.png" alt="Our logo" width="180px" height=60><img alt=none><img src=x style="display:none">'
    )
    assert reading.images == (Image("l.png", "Our logo", 180, 60),)


def test_a_message_that_nests_too_deep_is_said_to_be() -> None:
    deep = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (i, i + 1) for i in range(3000))
    reading = MessageText(b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + deep)
    assert reading.structure_fault == "the MIME structure cannot be read (MimeStructureError)"
    assert (reading.visible, reading.attachments, reading.links) == ("", (), ())


def test_too_many_parts_are_said_to_be() -> None:
    assert parts("mixed", *["\r\nx"] * 3000).structure_fault == "the message has too many parts"


def test_nothing_is_decoded_twice() -> None:
    reading = parts("alternative", PLAIN, HTML)
    assert reading.visible is reading.visible
    assert reading.text == reading.text


def everything(reading: MessageText) -> int:
    said = (reading.visible, reading.text, reading.html_text, reading.fault, reading.structure_fault)
    found = (reading.links, reading.images, reading.hidden, reading.attachments)
    assert all("\0" not in one.name for one in reading.attachments)
    return sum(map(len, said)) + sum(map(len, found))


@given(st.binary(max_size=2000))
def test_no_octets_break_it(octets: bytes) -> None:
    assert everything(MessageText(octets)) >= 0


@given(
    st.sampled_from(sorted(SAMPLES.glob("*.eml"))),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 30), st.binary(max_size=12)), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_no_damage_to_a_mail_breaks_it(sample: Path, damage: list[tuple[int, int, bytes]]) -> None:
    octets = sample.read_bytes()
    for at, length, new in damage:
        at %= len(octets)
        octets = octets[:at] + new + octets[at + length :]
    assert everything(MessageText(octets)) >= 0


TAGS = [
    "div",
    "p",
    "td",
    "table",
    "a",
    "style",
    "script",
    "template",
    "svg",
    "title",
    "b",
    "font",
    "body",
    "img",
    "!--",
]
STYLES = [
    "display:none",
    "color:#fff",
    "background:white",
    "font-size:0",
    "visibility:hidden",
    "opacity:0",
    "left:-9em",
    "\\64",
]


@given(
    st.lists(
        st.one_of(
            st.builds("<{}>".format, st.sampled_from(TAGS)),
            st.builds("</{}>".format, st.sampled_from(TAGS)),
            st.builds('<{} style="{}">'.format, st.sampled_from(TAGS), st.sampled_from(STYLES)),
            st.builds(".a {} {{ {} }}".format, st.sampled_from(TAGS), st.sampled_from(STYLES)),
            st.text(max_size=8),
        ),
        max_size=60,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_page_breaks_it(pieces: list[str]) -> None:
    reading = MessageText(
        b"Content-Type: text/html; charset=utf-8\r\n\r\n" + "".join(pieces).encode("utf-8", "replace")
    )
    assert everything(reading) >= 0


def multipart(kind: str, *parts: str, more: str = "") -> bytes:
    inside = "".join(f"--b\r\n{part}\r\n" for part in parts)
    return f"MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary=b{more}\r\n\r\n{inside}--b--\r\n".encode()


TEXT_PART = "Content-Type: text/plain\r\n\r\nplain"
HTML_PART = "Content-Type: text/html\r\n\r\n<p>html"
AMP_PART = "Content-Type: text/x-amp-html\r\n\r\n<p>amp"


@pytest.mark.parametrize(
    ("content", "views"),
    [
        (multipart("alternative", TEXT_PART, HTML_PART), ["html"]),
        (multipart("alternative", HTML_PART, TEXT_PART), ["plain", "html"]),
        (multipart("alternative", TEXT_PART, AMP_PART, HTML_PART), ["html", "amp"]),
        (multipart("alternative", TEXT_PART, HTML_PART, AMP_PART), ["amp", "html"]),
        (multipart("mixed", HTML_PART, TEXT_PART), ["html\nplain"]),
        (multipart("mixed", HTML_PART, f"Content-Disposition: inline; filename=x.txt\r\n{TEXT_PART}"), ["html"]),
        (multipart("mixed", HTML_PART, f"Content-Disposition: inline\r\n{TEXT_PART}"), ["html\nplain"]),
        (multipart("mixed", HTML_PART, f"Content-Disposition: (c) attachment (c)\r\n{TEXT_PART}"), ["html"]),
        (multipart("mixed", HTML_PART, f"Content-Disposition: x-unknown\r\n{TEXT_PART}"), ["html"]),
        (multipart("related", HTML_PART, f"Content-ID: <r>\r\n{TEXT_PART}", more='; start="<r>"'), ["plain"]),
        (multipart("related", HTML_PART, f"Content-ID: <r>\r\n{TEXT_PART}"), ["html"]),
        (multipart("related", HTML_PART, TEXT_PART, more='; start="<nowhere>"'), ["html"]),
    ],
)
def test_each_reader_sees_one_view(content: bytes, views: list[str]) -> None:
    assert [view.text for view in MessageText(content).views] == views


@pytest.mark.parametrize(
    "content",
    [
        multipart("mixed", "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx"),
        multipart("mixed", "Content-Type: text/plain\r\ncontent-TYPE: text/html\r\n\r\nx"),
        multipart("mixed", "Content-Type: text/plain\r\nContent-Type : text/html\r\n\r\nx"),
        multipart("mixed", "Content-Type\t: text/html\r\n\r\nx"),
        multipart("mixed", f"Content-Disposition: inline\r\nContent-Disposition: attachment\r\n{TEXT_PART}"),
        multipart("mixed", TEXT_PART, more="; boundary=c"),
        multipart("mixed", TEXT_PART, more="; boundary*=utf-8''c"),
        multipart("mixed", "Content-Type: text/plain; charset=utf-8; charset=utf-7\r\n\r\nx"),
        multipart("mixed", f"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n{TEXT_PART}"),
    ],
)
def test_mime_that_contradicts_itself_is_a_fault(content: bytes) -> None:
    assert "a part has " in MessageText(content).structure_fault


def test_a_message_that_is_shown_inside_is_not_read_and_one_that_is_attached_need_not_be() -> None:
    inner = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nspam"
    shown = MessageText(multipart("mixed", TEXT_PART, inner))
    assert (shown.structure_fault, "a message inside" in shown.fault) == ("", True)
    attached = MessageText(multipart("mixed", TEXT_PART, f"Content-Disposition: attachment\r\n{inner}"))
    assert (attached.fault, attached.visible) == ("", "plain")


def test_a_text_that_takes_long_to_decode_is_not_read() -> None:
    reading = MessageText(b"Content-Type: text/plain\r\n\r\n" + (b"x" * 70 + b"\r\n") * 60_000)
    assert reading.visible == ""
    assert reading.fault == "the message has a text of more than 4194304 octets"
    assert MessageText(b"Content-Type: text/plain\r\n\r\n" + (b"x" * 70 + b"\r\n") * 50_000).visible.startswith("xxx")
