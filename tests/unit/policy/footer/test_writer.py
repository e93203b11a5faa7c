"""Notices in messages: which texts get them, how they are encoded, and what stays as it was."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from mta.mail.headers import Headers
from policy.footer.notice import Notice, Run
from policy.footer.writer import NoticeWriter, header_fault
from tests.unit.policy.make import HEAD, message

URL = "https://mail.example.com/u/" + "t" * 120
NOTICES = (
    Notice("imprint", {"en": (Run("Müller & Söhne"), Run("1 High Street")), "nl": (Run("Voorbeeld B.V."),)}),
    Notice("unsubscribe", {"en": (Run("Unsubscribe", URL),), "nl": (Run("Uitschrijven", URL),)}),
)


def written(head: str, body: bytes) -> EmailMessage:
    subject = message(HEAD + head.encode(), body)
    writer = NoticeWriter(subject.content)
    assert writer.fault == ""
    made = writer.write(subject, NOTICES)
    assert made.headers == Headers.split(made.content)
    assert all(len(line) <= 998 for line in made.content.split(b"\r\n"))
    assert b"\n" not in made.content.replace(b"\r\n", b"")
    parsed = message_from_bytes(made.content, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def text_of(part: object) -> str:
    assert isinstance(part, EmailMessage)
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def fault(head: str, body: bytes = b"x\r\n") -> str:
    subject = message(HEAD + head.encode(), body)
    return header_fault(subject.headers) or NoticeWriter(subject.content).fault


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("", b"Gr\xfc\xdfe\r\n"),
        ("", "Grüße\r\n".encode()),
        ("Content-Type: text/plain; charset=iso-8859-1\r\n", b"Gr\xfc\xdfe"),
        ("Content-Type: text/plain; charset=\"windows-1252\"\r\nContent-Transfer-Encoding: 8bit\r\n", b"Gr\xfc\xdfe"),
        ("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", b"R3LDvMOfZQ0K\r\n"),
        ("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
         b"Gr=C3=BC=C3=9Fe"),
        ("Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n", b"//5HAHIA/ADfAGUA\r\n"),
    ],
)  # fmt: skip
def test_a_text_keeps_its_words_in_every_charset(head: str, body: bytes) -> None:
    parsed = written(head, body)
    text = text_of(parsed)
    assert text.startswith("Grüße\n\n____")
    assert text.endswith(f"Müller & Söhne\n1 High Street\nUnsubscribe: {URL}\n")
    assert parsed.get_content_charset() == "utf-8"
    assert parsed["MIME-Version"] == "1.0"


def test_flowed_text_stays_flowed_and_the_footer_does_not_flow_into_it() -> None:
    parsed = written("Content-Type: text/plain; charset=utf-8; format=flowed; delsp=yes\r\n", b"one \r\ntwo \r\n")
    assert parsed["Content-Type"].params == {"charset": "utf-8", "format": "flowed", "delsp": "yes"}
    assert "two\n\n____" in text_of(parsed)


def test_much_that_is_not_ascii_goes_as_base64() -> None:
    parsed = written("Content-Type: text/plain; charset=utf-8\r\n", ("\u0416" * 4000 + "\r\n").encode())
    assert parsed["Content-Transfer-Encoding"] == "base64"
    assert "Unsubscribe" in text_of(parsed)


ALTERNATIVE = (
    "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"m\"\r\n",
    b"preamble\r\n--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\nX-Kept: 1\r\nContent-Type: text/plain\r\n\r\nHello {{unsubscribe}}\r\n"
    b"--a\r\nContent-Type: multipart/related; boundary=r; start=\"<p@x>\"\r\n\r\n"
    b"--r\r\nContent-Type: image/png\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBO\r\n"
    b"--r\r\nContent-Type: text/html; charset=iso-8859-1\r\nContent-ID: <p@x>\r\n\r\n<html lang=nl>caf\xe9\r\n--r--\r\n"
    b"--a--\r\n\r\n--m\r\nContent-Type: application/pdf; name=a.pdf\r\n"
    b"Content-Disposition: attachment; filename=a.pdf\r\n\r\n%PDF \r\n--m--\r\nepilogue\r\n",
)  # fmt: skip


def test_every_alternative_gets_it_and_all_else_stays() -> None:
    subject = message(HEAD + ALTERNATIVE[0].encode(), ALTERNATIVE[1])
    writer = NoticeWriter(subject.content)
    assert writer.languages == ("nl",), "a text that does not say takes the language of another"
    made = writer.write(subject, NOTICES)
    parsed = written(*ALTERNATIVE)
    plain, image, page, pdf = (part for part in parsed.walk() if not part.is_multipart())
    assert text_of(plain) == f"Hello Uitschrijven: {URL}\n\n{'_' * 24}\nVoorbeeld B.V.\n".replace("\n\n\n", "\n\n")
    assert plain["X-Kept"] == "1"
    assert "café" in text_of(page)
    assert "Voorbeeld B.V." in text_of(page)
    assert (page["Content-ID"], page.get_content_charset()) == ("<p@x>", "utf-8")
    for kept in (image, pdf):
        assert bytes(kept) in ALTERNATIVE[1].replace(b"\r\n", b"\n")
    assert made.content.startswith(subject.content[: subject.headers.size] + b"preamble\r\n--m\r\n")
    after = ALTERNATIVE[1][ALTERNATIVE[1].index(b"\r\n--r--") :]
    assert made.content.endswith(after)


def test_copies_differ_in_nothing_but_their_notices() -> None:
    subject = message(HEAD + ALTERNATIVE[0].encode(), ALTERNATIVE[1])
    writer = NoticeWriter(subject.content)
    other = Notice("unsubscribe", {"nl": (Run("Uitschrijven", URL.replace("t", "s")),)})
    one, two = writer.write(subject, NOTICES), writer.write(subject, (NOTICES[0], other))
    assert one.content != two.content
    assert two.content == NoticeWriter(subject.content).write(subject, (NOTICES[0], other)).content


def test_of_parts_side_by_side_the_last_page_gets_it() -> None:
    parsed = written(
        "Content-Type: multipart/mixed; boundary=b\r\n",
        b"--b\r\nContent-Type: text/html\r\n\r\n<p>page\r\n--b\r\n\r\nlist footer\r\n--b\r\n"
        b"Content-Type: text/plain; name=log.txt\r\n\r\nlog\r\n--b--\r\n",
    )
    page, rest, log = parsed.iter_parts()
    assert "Unsubscribe" in text_of(page)
    assert (text_of(rest), text_of(log)) == ("list footer", "log")


SIGNED = 'Content-Type: multipart/signed; boundary=b; protocol="application/pgp-signature"\r\n'


@pytest.mark.parametrize(
    ("head", "body", "named"),
    [
        (SIGNED, b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/signed"),
        ("Content-Type: multipart/encrypted; boundary=b\r\n", b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/encrypted"),
        ("Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n", b"x", "application/pkcs7-mime"),
        ("", b"-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\nx\r\n", "BEGIN PGP SIGNED MESSAGE"),
        ("", b"-----BEGIN PGP MESSAGE-----\r\n\r\nx\r\n", "BEGIN PGP MESSAGE"),
        ("", b"Hi\r\nbegin 644 notice.txt\r\n", "begin 644"),
        ("Content-Type: multipart/alternative; boundary=b\r\n",
         b"--b\r\n\r\nx\r\n--b\r\nContent-Type: text/x-amp-html\r\n\r\n<html amp4email>\r\n--b--\r\n",
         "text/x-amp-html"),
        ("Content-Type: multipart/alternative; boundary=b\r\n",
         b"--b\r\n\r\nx\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n", "text/calendar"),
        ("Content-Type: image/png\r\n", b"x", "no text"),
        ("Content-Type: text/plain\r\nContent-Type: text/html\r\n", b"x", "several Content-Type"),
        ("Content-Type: text/plain; charset=utf-8; charset=utf-16\r\n", b"x", "several values of charset"),
        ("Content-Type: text/plain; charset=x-unknown\r\n", b"x", "x-unknown"),
        ("Content-Type: text/plain; charset=rot13\r\n", b"x", "rot13"),
        ("Content-Type: text/plain; charset=utf-8\r\n", b"Gr\xfc\xdfe", "not in what its header says"),
        ("Content-Transfer-Encoding: base64\r\n", b"abc", "not in what its header says"),
        ("Content-Transfer-Encoding: x-uuencode\r\n", b"x", "x-uuencode"),
        ("Content-Type: multipart/mixed\r\n", b"x", "boundary"),
        ("Content-Type: multipart/mixed; boundary=b\r\n", b"nothing", "boundary"),
        ("Content-Type: text/html\r\n", b"<plaintext>x", "<plaintext>"),
        ("Comments: {{imprint}}\r\n", b"x", "the header field Comments"),
        ("Comments: =?utf-8?q?=7B=7Bunsubscribe=7D=7D?=\r\n", b"x", "the header field Comments"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_into_says_why(head: str, body: bytes, named: str) -> None:
    assert named in fault(head, body)


def test_placeholders_in_plain_text() -> None:
    parsed = written("", b"By {{imprint}} and {{imprint}}\r\n\r\n{{unsubscribe}}\r\nBye\r\n")
    assert text_of(parsed) == f"By Müller & Söhne\n1 High Street and \n\nUnsubscribe: {URL}\nBye\n"


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("Content-Language: nl-BE\r\n", b"x", "Uitschrijven"),
        ("Content-Language: pl\r\n", b"x", "Unsubscribe"),
        ("Content-Type: text/html\r\nContent-Language: nl\r\n", b"<html lang=en><p>x", "Unsubscribe"),
        ("Content-Type: text/html\r\n", b"<html><body lang=NL><p>x", "Uitschrijven"),
    ],
)
def test_the_language_is_that_of_the_text(head: str, body: bytes, expected: str) -> None:
    assert expected in text_of(written(head, body))
