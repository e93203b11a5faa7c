"""What an attacker does on a socket, and a message that is in order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import ssl
from collections.abc import Iterable

from tests.flow.harness import SENDER, World

PATIENCE = 30.0  # seconds
_numbers = itertools.count(1)


def blind() -> ssl.SSLContext:
    """A client's context that trusts anybody."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Attacker:
    """A connection. What is lost is the connection, never the test: a refusal shows in what was said before."""

    def __init__(self, port: int, client: str = "127.0.0.1", *, tls: bool = False) -> None:
        self._port, self._client, self._tls = port, client, tls

    async def __aenter__(self) -> Attacker:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._client, 0), ssl=blind() if self._tls else None
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def reply(self) -> str:
        """The next reply, its lines joined by LF; "" when the connection is over."""
        lines = b""
        async with asyncio.timeout(PATIENCE):
            while not re.search(rb"(?m)^\d{3}(?: [^\n]*)?\n\Z", lines):
                with contextlib.suppress(ConnectionError):
                    line = await self.reader.readline()
                    lines += line
                    if line:
                        continue
                break
        return lines.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")

    async def say(self, octets: bytes) -> str:
        """Send, and return the reply."""
        await self.send(octets)
        return await self.reply()

    async def send(self, octets: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            if not self.writer.transport.is_closing():
                self.writer.write(octets)
                await self.writer.drain()

    async def begin(self) -> Attacker:
        """Greeting and EHLO."""
        await self.reply()
        await self.say(b"EHLO client.sender.example\r\n")
        return self

    async def rest(self, *pieces: bytes) -> str:
        """Send the pieces, one after the other, then QUIT; everything that comes until the end."""
        for piece in (*pieces, b"QUIT\r\n"):
            await self.send(piece)
            await asyncio.sleep(0)
        heard = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    heard += piece
        return heard.decode("utf-8", "replace")


def codes(text: str) -> list[int]:
    """The codes of the replies in ``text``."""
    return [int(code) for code in re.findall(r"(?m)^(\d{3})(?: |\r?$)", text)]


async def converse(world: World, *pieces: bytes) -> str:
    """A session on the plain port, from EHLO to its end."""
    async with Attacker(world.service.port) as attacker:
        await attacker.begin()
        return await attacker.rest(*pieces)


async def submit(world: World, content: bytes, recipient: str, sender: str = SENDER) -> str:
    """Hand ``content`` in; the reply that decides: the first refusal, or that to the message."""
    async with Attacker(world.service.port) as attacker:
        await attacker.begin()
        for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = await attacker.say(command.encode() + b"\r\n")
            if reply[0:1] not in ("2", "3"):
                return reply
        return await attacker.say(content + b"\r\n.\r\n")


def letter(*fields: str, sender: str = SENDER, body: str = "One line.") -> bytes:
    """A message with these additional fields."""
    head = (f"From: {sender}", "To: you@example.com", f"Subject: attack {next(_numbers)}", *fields)
    return ("\r\n".join(head) + f"\r\n\r\n{body}").encode("utf-8", "surrogateescape")


async def sentinel(world: World) -> None:
    """Send one honest message and wait for it: whatever the attack had brought under way has come by then."""
    name = f"sentinel{next(_numbers)}@example.com"
    reply = await submit(world, letter(), name)
    assert reply.startswith("250"), reply
    await world.patiently(world.receiver.ledger.wait_until(lambda ledger: name in addressees(world)))


def addressees(world: World) -> set[str]:
    """Everybody to whom the receiver of example.com was asked to give anything."""
    return {address for receipt in world.receiver.ledger.receipts for address in receipt.addresses}


def commands(world: World) -> str:
    """All that the receiver was told, a command a line."""
    return "\n".join(line for _, line in world.receiver.ledger.commands)


def chunks(content: bytes, size: int) -> Iterable[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))
