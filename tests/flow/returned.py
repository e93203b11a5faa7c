"""What receivers, feedback loops and people send back, and the door at which they do."""

from __future__ import annotations

import asyncio
import base64
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiosmtplib
import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.service import free_port
from mta.mail.reply import Reply
from mta.testing.nameserver import Node
from mta.testing.script import Receipt
from tests.flow.harness import World
from tests.flow.permission import Shop, shop

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

    async def until_counted(self, sort: str, count: int) -> None:
        """Wait until the service has counted that so often: it counts after the commit."""

        async def enough() -> bool:
            return await self._counted(sort) >= count

        await self.world.until(enough)
        assert await self._counted(sort) == count

    async def _counted(self, sort: str) -> float:
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
