"""What may be attached, by name, type, number and size."""

from __future__ import annotations

import pytest

from mta.mail.message import Message
from policy.rules.content.attachments import Attachments
from tests.unit.policy.make import CONTEXT, ask, message

PDF = ("application/pdf", "offer.pdf", 3000)


def mail(*parts: tuple[str, str, int]) -> Message:
    body = b"--b\r\n\r\ntext\r\n"
    for kind, name, size in parts:
        disposition = f'Content-Disposition: attachment; filename="{name}"\r\n' if name else ""
        body += f"--b\r\nContent-Type: {kind}\r\n{disposition}\r\n{'x' * size}\r\n".encode()
    return message('From: a@shop.example\r\nContent-Type: multipart/mixed; boundary="b"\r\n', body + b"--b--\r\n")


def judge(subject: Message, **settings: object) -> str:
    return ask(Attachments(Attachments.Settings.model_validate(settings), CONTEXT), subject)


def test_ordinary_attachments_pass() -> None:
    assert judge(mail()) == "pass: 0 attachments, 0 octets"
    assert judge(mail(PDF, ("image/png", "www.shop.com.png", 10))) == "pass: 2 attachments, 3010 octets"


@pytest.mark.parametrize(
    "name",
    ["setup.exe", "SETUP.EXE", "a.scr", "a.js", "report.docm", "a.exe.", "a.exe ", "a.exe . .", "a.exe:pdf", "b/c.lnk",
     "..\\x.vbs", "a.hta", "page.html", "disk.iso", "ａ.ｅｘｅ", "a.e\u00adxe"],
)  # fmt: skip
def test_what_runs_is_refused(name: str) -> None:
    answer = judge(mail(PDF, ("application/octet-stream", name.replace("\\", "\\\\"), 10)))
    assert answer.startswith("refuse: 550 5.7.1 attachments: ")
    assert "which runs when it is opened; send another format, or link it" in answer


def test_a_disguise_is_named() -> None:
    answer = judge(mail(("application/pdf", "invoice.pdf.exe", 10)))
    assert answer == (
        'refuse: 550 5.7.1 attachments: "invoice.pdf.exe" ends in .exe in the guise of .pdf, which runs when it is '
        "opened; send another format, or link it"
    )


@pytest.mark.parametrize("name", ["utf-8''gpj%E2%80%AEfdp.exe.pdf", "utf-8''a.exe%00.pdf"])
def test_characters_that_hide_the_ending(name: str) -> None:
    head = f"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*={name}\r\n"
    answer = judge(message(head, b"x\r\n"))
    assert "has characters in its name that hide what it is" in answer


def test_a_type_that_runs_is_refused_whatever_its_name() -> None:
    answer = judge(mail(("application/x-msdownload", "offer.pdf", 10)))
    assert '"offer.pdf" is of the type application/x-msdownload' in answer
    assert "an attachment without a name (application/hta)" in judge(mail(("application/hta", "", 10)))


def test_attachments_of_attached_messages_count() -> None:
    inner = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: application/x; name=a.exe\r\n\r\nMZ\r\n"
    assert '"a.exe"' in judge(message(inner.split("\r\n\r\n")[0] + "\r\n", inner.split("\r\n\r\n", 1)[1].encode()))


def test_settings() -> None:
    assert judge(mail(("text/html", "page.html", 10)), allowed=["HTML"]).startswith("pass")
    assert judge(mail(("text/html", "page.html", 10)), kinds=["programs"]).startswith("pass")
    assert '"offer.pdf" ends in .pdf' in judge(mail(PDF), also=["PDF"])
    assert "only jpg, png are allowed" in judge(mail(PDF), only=["png", "jpg"])
    assert "2 attachments, at most 1 are allowed" in judge(mail(PDF, PDF), most=1)
    assert '"offer.pdf" has 3000 octets, at most 2000 are allowed' in judge(mail(PDF), largest="2kB")
    assert judge(mail(PDF, PDF), total="5kB").startswith("refuse: 552 5.3.4 attachments: 6000 octets attached")


def test_what_cannot_be_taken_apart_is_refused() -> None:
    deep = b"".join(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (i, i + 1) for i in range(500))
    answer = judge(message("Content-Type: multipart/mixed; boundary=b0\r\n", deep))
    assert "the MIME structure cannot be read (MimeStructureError), so its attachments cannot be checked" in answer
