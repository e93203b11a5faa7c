"""What receivers, feedback loops and people send back, and the door at which they do."""

from __future__ import annotations

import asyncio
import base64
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.service import free_port
from mta.mail.reply import Reply
from tests.flow.harness import World
from tests.flow.permission import Shop, shop
from tests.nameserver import Node
from tests.receiver_script import Receipt

DOMAIN = "returns.sender.example"
REPORTER = "feedback.example"

_CHANGED = (
    "suppression",
    "complaint_case",
    "consent_entry",
    "soft_bounce where account_id > 0",
    "case_event where kind in ('opened', 'complaint')",
    "event where kind in ('bounced_async', 'delay_reported', 'auto_reply', 'complained', 'abuse_mail', 'suppressed')",
    "queue where account_id > 0",
)


@dataclass(frozen=True, slots=True)
class Desk:
    """The shop, and the door for what comes back."""

    shop: Shop
    world: World
    port: int

    async def bring(self, content: bytes, *to: str, sender: str = "") -> Reply:
        """The first refusal of a recipient, or the answer to the final dot."""
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=self.port, use_tls=False, start_tls=False, timeout=30
        ) as smtp:
            await smtp.ehlo()
            try:
                await smtp.mail(sender)
                for recipient in to:
                    await smtp.rcpt(recipient)
                answer = await smtp.data(content)
            except aiosmtplib.SMTPResponseException as error:
                return Reply.parse(error.code, error.message)
        return Reply.parse(answer.code, answer.message)

    async def until_worked_off(self) -> None:
        """Wait until nothing that came back is left to do."""

        async def done() -> bool:
            return not await self.world.db.fetchval("select count(*) from inbound_report")

        await self.world.until(done)

    async def counted(self, sort: str) -> float:
        """How often the service has counted that."""
        url = f"http://127.0.0.1:{self.world.service.web_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
        found = re.search(rf'(?m)^imprimatur_inbound_reports_total\{{kind="{sort}"\}} (\S+)$', page)
        return float(found[1]) if found else 0.0

    async def state(self) -> dict[str, Any]:
        """All that something that comes back could change; not what is told to the account about it meanwhile."""
        return {what: await self.world.db.fetchval(f"select count(*) from {what}") for what in _CHANGED}


@asynccontextmanager
async def returns(world: World, **settings: Any) -> AsyncIterator[Desk]:
    """The shop with a door for what comes back to its mail."""
    port = free_port()
    section = {"listeners": [{"address": "127.0.0.1", "port": port, "tls": "none"}]} | settings.pop("reports", {})
    async with shop(world, reports=section, **settings) as opened:
        yield Desk(opened, world, port)


def path_of(receipt: Receipt) -> str:
    """The return path that the receiver was given."""
    return receipt.sender.address


def header_of(receipt: Receipt) -> bytes:
    return receipt.content.partition(b"\r\n\r\n")[0] + b"\r\n"


def bounce(
    to: str, recipient: str, returned: bytes = b"", *, action: str = "failed", said: str = "550 5.1.1 no such user"
) -> bytes:
    """A report as RFC 3464 has it."""
    status = said.split()[1]
    return (
        (
            f"From: MAILER-DAEMON@mx.example.com\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
            "Date: Mon, 3 Mar 2025 09:31:00 +0000\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
            'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
            "--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n"
            "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
            f"Reporting-MTA: dns; mx.example.com\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: {action}\r\n"
            f"Status: {status}\r\nDiagnostic-Code: smtp; {said}\r\n\r\n"
            "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        ).encode()
        + returned
        + b"\r\n--b--\r\n"
    )


def vacation(to: str) -> bytes:
    """An answer of a program (RFC 3834)."""
    return (
        f"From: rita@example.com\r\nTo: {to}\r\nSubject: Away until Monday\r\nDate: Mon, 3 Mar 2025 09:31:00 +0000\r\n"
        "Auto-Submitted: auto-replied\r\n\r\nI am away. 550 5.1.1 is not what I say.\r\n"
    ).encode()


def complaint(returned: bytes, *, sender: str = f"fbl@{REPORTER}", feedback: str = "abuse") -> bytes:
    """A feedback report (RFC 5965) from which every address was struck out."""
    return (
        (
            f"From: {sender}\r\nTo: fbl@{DOMAIN}\r\nSubject: complaint\r\nDate: Mon, 3 Mar 2025 09:31:00 +0000\r\n"
            "Message-ID: <1@feedback.example>\r\nMIME-Version: 1.0\r\n"
            'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
            "--b\r\nContent-Type: text/plain\r\n\r\nThis is a complaint.\r\n"
            "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
            f"Feedback-Type: {feedback}\r\nUser-Agent: Loop/1.0\r\nVersion: 1\r\n\r\n"
            "--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        ).encode()
        + redacted(returned)
        + b"\r\n--b--\r\n"
    )


def redacted(header: bytes) -> bytes:
    """Without what says who the recipient was."""
    kept, keeps = [], True
    for line in header.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            keeps = not line.lower().startswith((b"to:", b"received:", b"delivered-to:", b"return-path:"))
        if keeps:
            kept.append(line)
    return b"\r\n".join(kept)


def letter(
    to: str, subject: str = "", body: str = "", attached: bytes = b"", author: str = "Rita <rita@example.com>"
) -> bytes:
    """What a person writes, perhaps with a message attached."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = author, to, subject
    mail.set_content(body or "Regards, Rita")
    if attached:
        mail.add_attachment(attached, maintype="message", subtype="rfc822", cte="8bit", filename="offer.eml")
    return mail.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class Signs:
    """A domain that signs its reports; its key is in the world's DNS."""

    def __init__(self, world: World, domain: str = REPORTER) -> None:
        key = generate_private_key(65537, 2048)
        self._pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        world.zone[f"s1._domainkey.{domain}"] = Node(txt=(f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}",))
        self._domain = domain

    def __call__(self, content: bytes) -> bytes:
        """``content`` with the domain's signature on top."""
        headers = [b"from", b"to", b"subject", b"date", b"message-id"]
        made: bytes = dkim.sign(content, b"s1", self._domain.encode(), self._pem, include_headers=headers)
        return made + content
