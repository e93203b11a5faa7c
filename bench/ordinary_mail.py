"""Ordinary mail that speaks of returned mail, or looks like it: 25 kinds in eight languages.

The texts are in ``tests/cases/bounces/ordinary``, a file for each language; the frames of the kinds are here: who
writes, with which header fields, and what is quoted, pasted or attached.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from email.header import Header
from pathlib import Path

TEXTS = Path(__file__).parents[1] / "tests/cases/bounces/ordinary"

_REPORT = """This is the mail system at host mx.example.org.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<rose@example.com>: host mx.example.com[192.0.2.1] said: 550 5.1.1
    <rose@example.com>: Recipient address rejected: User unknown
    (in reply to RCPT TO command)
"""
_HEADER = """From: Mail Delivery System <MAILER-DAEMON@mx.example.org>
To: helen@example.net
Subject: Undelivered Mail Returned to Sender
Date: Mon, 2 Feb 2026 08:00:00 +0100
Message-ID: <1@mx.example.org>
"""
_SENT = """Return-Path: <news@shop.example>
Received: from a.example by b.example; Mon, 2 Feb 2026 07:59:59 +0100
From: News <news@shop.example>
To: rose@example.com
Subject: Spring
Message-ID: <2@shop.example>
"""
_FIELDS = "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; rose@example.com\nAction: {}\nStatus: {}\n"
_PERSON = "Helen <helen@example.net>"
_DISPOSITION = "Final-Recipient: rfc822; helen@example.com\nDisposition: manual-action/MDN-sent-manually; displayed\n"
_REPLY = "In-Reply-To: <2@shop.example>\nReferences: <2@shop.example>\n"
_LIST = "List-Id: <talk.lists.example>\nList-Post: <mailto:talk@lists.example>\nPrecedence: list\n"
_AUTOMATIC = "Return-Path: <>\nAuto-Submitted: auto-replied\n"
_NEWSLETTER = "List-Unsubscribe: <https://shop.example/u/1>\nReturn-Path: <bounces@news.example>\n"


def ordinary_mail() -> Iterator[tuple[str, bytes]]:
    """Yield each mail with its name, ``nl quotes``."""
    for path in sorted(TEXTS.glob("*.toml")):
        for kind, (subject, text) in tomllib.loads(path.read_text(encoding="utf-8")).items():
            yield f"{path.stem} {kind}", _mail(kind, subject, text)


def _mail(kind: str, subject: str, text: str) -> bytes:
    author, fields, body = _PERSON, "", text
    match kind:
        case "quotes":
            body = f"{text}\n\n{_quoted(_HEADER + chr(10) + _REPORT)}"
        case "pastes":
            body = f"{text}\n\n{_REPORT}\n{_SENT}"
        case "answers":
            fields, body = _REPLY, f"{text}\n\n{_quoted(_REPORT)}"
        case "forwards":
            body = f"{text}\n\n-----\n{_HEADER}\n{_REPORT}\n{_SENT}"
        case "attaches":
            fields, body = _parts("multipart/mixed", text, ("message/rfc822", f"{_HEADER}\n{_REPORT}"))
        case "digest":
            author, fields = "talk-request@lists.example", _LIST
            body = f"{text}\n\nMessage: 1\n{_HEADER}\n{_REPORT}"
        case "list_daemon":
            author, fields = "mailer-daemon-talk@lists.example", _LIST
        case "moderated":
            author, fields = "talk-bounces@lists.example", f"{_LIST}Auto-Submitted: auto-generated\n"
        case "ticket":
            author, fields = "Helpdesk <noreply@desk.example>", f"{_AUTOMATIC}{_REPLY}"
            body = f"{text}\n\n{_quoted(_REPORT)}"
        case "newsletter":
            author, fields = "Mail Weekly <letter@news.example>", _NEWSLETTER
        case "calendar":
            fields, body = _parts("multipart/alternative", text, ("text/calendar; method=REPLY", "BEGIN:VCALENDAR\n"))
        case "receipt":
            part = ("message/disposition-notification", _DISPOSITION)
            fields, body = _parts("multipart/report; report-type=disposition-notification", text, part)
        case "delivered":
            author = "Mail Delivery System <MAILER-DAEMON@mx.example.org>"
            part = ("message/delivery-status", _FIELDS.format("delivered", "2.1.5"))
            fields, body = _parts("multipart/report; report-type=delivery-status", text, part)
        case "vacation" | "moved":
            fields = f"{_AUTOMATIC}{_REPLY}"
        case "challenge":
            author, fields = "noreply@guard.example", _AUTOMATIC
        case "quota" | "postmaster_human":
            author = "Postmaster <postmaster@shop.example>"
        case "quarantine":
            author = "Mail Gateway <quarantine@gw.shop.example>"
        case "monitoring":
            author = "root@mx1.shop.example"
        case "parcel" | "payment" | "account_closed":
            author, fields = "noreply@service.example", "Return-Path: <>\n"
    content = "" if "Content-Type" in fields else "Content-Type: text/plain; charset=utf-8\n"
    header = (
        f"From: {author}\nTo: news@returns.example\nSubject: {Header(subject, 'utf-8').encode()}\n"
        f"Date: Tue, 3 Feb 2026 09:14:05 +0100\nMessage-ID: <3@mail.example>\n{fields}MIME-Version: 1.0\n{content}"
    )
    return f"{header}\n{body}\n".encode()


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _parts(kind: str, text: str, part: tuple[str, str]) -> tuple[str, str]:
    """Return the Content-Type field and the body of a mail with ``text`` and another part."""
    first = f"--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
    return f'Content-Type: {kind}; boundary="b"\n', f"{first}--b\nContent-Type: {part[0]}\n\n{part[1]}\n--b--\n"
