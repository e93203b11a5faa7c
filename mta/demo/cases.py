"""What the demo submits, as any application would with ``smtplib``, and the expected outcome of each recipient.

The outcomes depend on the receiver (``mta.testing.script.MANNERS``, by local part), on the zone of
``mta.demo.environment``, and on the service itself.

Limitations: ``submit`` blocks: call it in a thread. The service's certificate is self-signed and not verified. The
company in the newsletter is fictitious; its registration numbers have valid check digits.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from enum import Enum

from mta.mail.identity import MessageId, parse_id
from mta.mail.reply import Reply
from policy.accounts.account import Identity

SENDER = "desk@demo.example"
UNKNOWN = "unknown@inbox.example"
CONFIRMED, UNCONFIRMED = "spring-week-1", "spring-week-2"  # mailings
READER, LAPSED, STRANGER, ROLE = "rita@inbox.example", "lena@inbox.example", "dora@inbox.example", "info@inbox.example"
TIMEOUT = 60.0  # seconds for each reply
UNSUBSCRIBE_URL = "https://demo.example/unsubscribe"

IDENTITY = Identity(
    language="en",
    names=("Demo Bakery B.V.",),
    street="Keizersgracht 1",
    postcode="1015 CN",
    city="Amsterdam",
    country="NL",
    phone="+31 20 794 0001",
    email="desk@demo.example",
    register="KvK",
    number="12345678",
    vat="NL123456782B90",
    representative="A. Baker",
)
IMPRINT = (
    "Legal notice",
    IDENTITY.names[0],
    IDENTITY.street,
    f"{IDENTITY.postcode} {IDENTITY.city}, The Netherlands",
    f"Represented by {IDENTITY.representative}",
    f"Phone {IDENTITY.phone}, e-mail {IDENTITY.email}",
    f"{IDENTITY.register} {IDENTITY.number}, VAT {IDENTITY.vat}",
)
_ID = re.compile(r"queued as (\S+)")


class DemoOutcome(Enum):
    """The state of one recipient."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    HELD = "held"
    FAILED = "failed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Expected:
    """``status``: enhanced status code of the deciding reply, "" for any. ``attempts``: minimum number."""

    recipient: str
    outcome: DemoOutcome
    status: str = ""
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Newsletter:
    """A marketing message. ``mailing``: the name of its mailing."""

    mailing: str
    imprint: bool = True


@dataclass(frozen=True, slots=True)
class DemoCase:
    """One submission. ``after``: title of the case that must have ended before. ``newsletter``: None for transactional
    mail."""

    title: str
    expected: tuple[Expected, ...]
    header_from: str = SENDER
    login: bool = True
    after: str | None = None
    newsletter: Newsletter | None = None


def _rejected(recipient: str, status: str = "") -> tuple[Expected, ...]:
    return (Expected(recipient, DemoOutcome.REJECTED, status, attempts=0),)


CASES = (
    DemoCase("plain success", (Expected("ann@inbox.example", DemoOutcome.DELIVERED),)),
    DemoCase("greylisted first", (Expected("grey@club.example", DemoOutcome.DELIVERED, attempts=2),)),
    DemoCase("tarpit", (Expected("slow@tarpit.example", DemoOutcome.DELIVERED),)),
    DemoCase("first MX host down", (Expected("sam@spare.example", DemoOutcome.DELIVERED),)),
    DemoCase("mailbox full", (Expected("full@club.example", DemoOutcome.DEFERRED, "4.2.2"),)),
    DemoCase("unknown mailbox", (Expected(UNKNOWN, DemoOutcome.FAILED, "5.1.1"),)),
    DemoCase("unknown domain", (Expected("eve@nowhere.example", DemoOutcome.FAILED, "5.1.2"),)),
    DemoCase(
        "two of four rejected",
        (
            Expected("bob@inbox.example", DemoOutcome.DELIVERED),
            Expected("unknown-2@inbox.example", DemoOutcome.FAILED, "5.1.1"),
            Expected("cat@inbox.example", DemoOutcome.DELIVERED),
            Expected("unknown-3@inbox.example", DemoOutcome.FAILED, "5.1.1"),
        ),
    ),
    DemoCase("unknown mailbox again", _rejected(UNKNOWN), after="unknown mailbox"),
    DemoCase("foreign From domain", _rejected("ann@inbox.example"), header_from="boss@bank.example"),
    DemoCase("without a login", _rejected("ann@inbox.example", "5.7.0"), login=False),
    DemoCase("newsletter: good", (Expected(READER, DemoOutcome.DELIVERED),), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: role address", _rejected(ROLE, "5.7.1"), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: no opt-in", _rejected(STRANGER, "5.7.1"), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: opt-in lapsed", _rejected(LAPSED, "5.7.1"), newsletter=Newsletter(CONFIRMED)),
    DemoCase("newsletter: no imprint", _rejected(READER, "5.7.1"), newsletter=Newsletter(CONFIRMED, imprint=False)),
    DemoCase(
        "newsletter: not confirmed",
        (Expected(READER, DemoOutcome.HELD, attempts=0),),
        newsletter=Newsletter(UNCONFIRMED),
    ),
)


@dataclass(frozen=True, slots=True)
class SubmissionLogin:
    username: str
    secret: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """The client's view: the final reply for each recipient; the message's ID if it was accepted for any."""

    replies: dict[str, Reply]
    id: MessageId | None


def submit(case: DemoCase, port: int, login: SubmissionLogin) -> Submitted:
    """Submit the case's message at 127.0.0.1. Raises OSError, smtplib.SMTPException."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, "app.demo.example", timeout=TIMEOUT) as client:
        client.starttls(context=unverified)
        if case.login:
            client.login(login.username, login.secret)
        client.ehlo_or_helo_if_needed()
        recipients = [expected.recipient for expected in case.expected]
        reply = _reply(client.mail(SENDER))
        if reply.code != 250:
            return Submitted(dict.fromkeys(recipients, reply), None)
        replies = {recipient: _reply(client.rcpt(recipient)) for recipient in recipients}
        accepted = [recipient for recipient, reply in replies.items() if reply.code == 250]
        if not accepted:
            return Submitted(replies, None)
        reply = _reply(client.data(_message(case, recipients)))
        replies |= dict.fromkeys(accepted, reply)
        found = _ID.search(reply.text)
        return Submitted(replies, parse_id(found[1]) if found and reply.code == 250 else None)


def _reply(answer: tuple[int, bytes]) -> Reply:
    return Reply.parse(answer[0], answer[1].decode("utf-8", "replace"))


def _message(case: DemoCase, recipients: list[str]) -> bytes:
    subject = f"Demonstration: {case.title}"
    if case.newsletter:
        fields = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": case.newsletter.mailing}
        return newsletter(case.header_from, recipients, subject, imprint=case.newsletter.imprint, fields=fields)
    message = _headed(f"Demo <{case.header_from}>", recipients, subject)
    message.set_content(f"This message is the demo's case \u201c{case.title}\u201d.\n")
    return message.as_bytes(policy=SMTP)


def confirmed_newsletter() -> bytes:
    """Return the message that the mailing CONFIRMED was confirmed with: that of the first case which sends it."""
    case = next(case for case in CASES if case.newsletter and case.newsletter.mailing == CONFIRMED)
    return content_of(case)


def content_of(case: DemoCase) -> bytes:
    """Return the message of a case."""
    return _message(case, [each.recipient for each in case.expected])


def newsletter(
    sender: str, recipients: Sequence[str], subject: str, *, imprint: bool = True, fields: dict[str, str] | None = None
) -> bytes:
    """Return a newsletter with text and HTML part. ``fields``: more header fields, such as ``X-MTA-Mailing``."""
    message = _headed(f"Demo Bakery <{sender}>", recipients, subject)
    for name, value in (fields or {}).items():
        message[name] = value
    notice = IMPRINT if imprint else ()
    lines = ("Good morning,", "this week our sourdough is half the price.", "", f"Unsubscribe: {UNSUBSCRIBE_URL}")
    message.set_content("\n".join((*lines, "", *notice)) + "\n")
    paragraphs = "".join(f"<p>{line}</p>" for line in lines[:2])
    page = (
        f"<html><body>{paragraphs}<p><img src='https://demo.example/logo.png' alt='Demo Bakery'></p>"
        f"<p><a href='{UNSUBSCRIBE_URL}'>Unsubscribe</a></p><div>{'<br>'.join(notice)}</div></body></html>"
    )
    message.add_alternative(page, subtype="html")
    return message.as_bytes(policy=SMTP)


def _headed(sender: str, recipients: Sequence[str], subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="demo.example")
    return message
