"""An application's way in: a port with TLS from the start and one with STARTTLS, a secret, and its end."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl

from bench.service import free_port
from tests.flow.harness import World, message

SENDER = "ann@sender.example"


class Application:
    """A client as others write it, with a certificate that it does not check."""

    def __init__(self, port: int, *, implicit: bool) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if implicit:
            self.smtp: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, context=context, timeout=30)
        else:
            self.smtp = smtplib.SMTP("127.0.0.1", port, timeout=30)
            self.smtp.starttls(context=context)

    def send(self, recipient: str) -> None:
        self.smtp.sendmail(SENDER, [recipient], message())


async def test_a_secret_opens_the_encrypted_ports_until_it_is_revoked(world: World) -> None:
    submissions, starttls = free_port(), free_port()
    ports = [(submissions, "implicit"), (starttls, "starttls")]
    listeners = [{"address": "127.0.0.1", "port": port, "tls": tls} for port, tls in ports]
    await world.start(submission={"listeners": listeners}, server={"workers": 1})
    await asyncio.to_thread(world.service.cli, "account", "network", "remove", "shop", "127.0.0.0/8", "--yes")
    made = await asyncio.to_thread(world.service.cli, "account", "credential", "add", "shop", "--username", "app")
    found = re.search(r"[A-Za-z0-9_-]{32}", made)
    assert found, made

    def submit() -> list[Application]:
        clients = [Application(port, implicit=tls == "implicit") for port, tls in ports]
        for n, client in enumerate(clients):
            code, hello = client.smtp.ehlo()
            assert (code, b"AUTH PLAIN LOGIN SCRAM-SHA-256" in hello) == (250, True)
            assert client.smtp.login("app", found[0])[0] == 235
            client.send(f"ben{n}@example.com")
        return clients

    clients = await asyncio.to_thread(submit)
    receipts = await world.received(2)
    assert {receipt.recipients[0].address for receipt in receipts} == {"ben0@example.com", "ben1@example.com"}
    assert all(b" with ESMTPSA id " in receipt.content for receipt in receipts)

    await asyncio.to_thread(world.service.cli, "account", "credential", "revoke", "app", "--yes")

    def refused(client: Application) -> bytes:
        """The answer to MAIL, once the worker knows."""
        while True:
            code, text = client.smtp.mail(SENDER)
            if code != 250:
                return b"%d %b" % (code, text)
            client.smtp.rset()

    for client in clients:
        answer = await asyncio.to_thread(refused, client)
        assert answer.startswith(b"421 4.7.0 Credential changed or revoked")


async def test_nobody_relays_without_an_account(world: World) -> None:
    await world.start()
    await asyncio.to_thread(world.service.cli, "account", "network", "remove", "shop", "127.0.0.0/8", "--yes")

    def ask() -> int:
        with smtplib.SMTP("127.0.0.1", world.service.port, timeout=30) as smtp:
            smtp.ehlo()
            while True:
                code, _ = smtp.mail(SENDER)
                if code != 250:  # once the worker knows
                    return code
                smtp.rset()

    assert await asyncio.to_thread(ask) == 530
