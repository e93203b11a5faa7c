"""One submission, made as any application makes it: with the standard library's ``smtplib``.

*Limits.* Blocking: call it in a thread. The service's certificate is self-signed and not verified.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from mta.demo.cases import SENDER, DemoCase
from mta.demo.newsletter import newsletter
from mta.mail.identity import MessageId, parse_id
from mta.mail.reply import Reply

PATIENCE = 20.0  # seconds for each answer
_ID = re.compile(r"queued as (\S+)")


@dataclass(frozen=True, slots=True)
class SubmissionLogin:
    username: str
    secret: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """The client's view: a final reply for each recipient, and the message's id if it was accepted for any."""

    replies: dict[str, Reply]
    id: MessageId | None


def submit(case: DemoCase, port: int, login: SubmissionLogin) -> Submitted:
    """Hand the case's message in at 127.0.0.1. Raises OSError, smtplib.SMTPException."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", port, "app.demo.example", timeout=PATIENCE) as client:
        client.starttls(context=unverified)
        if case.login:
            client.login(login.username, login.secret)
        return _transaction(client, case)


def _transaction(client: smtplib.SMTP, case: DemoCase) -> Submitted:
    client.ehlo_or_helo_if_needed()
    recipients = [expected.recipient for expected in case.expected]
    said = _reply(client.mail(SENDER))
    if said.code != 250:
        return Submitted(dict.fromkeys(recipients, said), None)
    replies = {recipient: _reply(client.rcpt(recipient)) for recipient in recipients}
    accepted = [recipient for recipient, reply in replies.items() if reply.code == 250]
    if not accepted:
        return Submitted(replies, None)
    said = _reply(client.data(_message(case, recipients)))
    replies |= dict.fromkeys(accepted, said)
    found = _ID.search(said.text)
    return Submitted(replies, parse_id(found[1]) if found and said.code == 250 else None)


def _message(case: DemoCase, recipients: list[str]) -> bytes:
    if case.newsletter:
        fields = {"X-MTA-Stream": "marketing", "X-MTA-Mailing": case.newsletter.mailing}
        subject = f"Demo: {case.title}"
        return newsletter(case.header_from, recipients, subject, imprint=case.newsletter.imprint, fields=fields)
    message = EmailMessage()
    message["From"] = f"Demo <{case.header_from}>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"Demo: {case.title}"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="demo.example")
    message.set_content(f"This message is the demo's case \u201c{case.title}\u201d.\n")
    return message.as_bytes(policy=SMTP)


def _reply(answer: tuple[int, bytes]) -> Reply:
    return Reply.parse(answer[0], answer[1].decode("utf-8", "replace"))
