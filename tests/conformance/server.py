"""Plays the client of a dialogue against a listener of the running service."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from mta.testing.script import Ledger, Receipt
from tests.conformance.dialogue import Check, Step, expand, grouped, octets
from tests.flow.harness import World

PATIENCE = 20.0  # seconds for any reply

_REPLY = re.compile(rb"(?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?\r\n")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dialogue takes place."""

    port: int
    client: str = "127.0.0.1"
    implicit_tls: bool = False


class ServerDialogue:
    """One check. ``hello``: what is said before its first step, unless it takes place ``raw``."""

    def __init__(self, check: Check, place: Place, world: World, variables: Mapping[str, str]) -> None:
        self._check, self._place, self._world = check, place, world
        self._variables = variables
        self._reply = ""

    async def play(self) -> None:
        """Raises AssertionError with the step that failed."""
        context = _blind_context() if self._place.implicit_tls else None
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._place.port, local_addr=(self._place.client, 0), ssl=context
        )
        try:
            if "raw" not in self._check.places:
                await self._say(b"", replies=1)
                await self._say(b"EHLO client.sender.example\r\n", replies=1)
            for group in grouped(self._check.steps):
                try:
                    await self._step(group)
                except (AssertionError, TimeoutError, asyncio.IncompleteReadError) as error:
                    where = f"{self._check.table}.txt:{group[0].line}: {self._check.id}"
                    raise AssertionError(
                        f"{where}: {group[0].kind} {group[0].text}: {error}; last reply: {self._reply!r}"
                    ) from None
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _step(self, group: list[Step]) -> None:
        step = group[0]
        match step.kind:
            case "C" | "c":
                self._writer.write(b"".join(map(self._line, group)))
            case "S":
                for one in group:
                    self._reply = await self._next_reply()
                    assert re.match(self._text(one), self._reply), f"came: {self._reply!r}"
            case "S*":
                count, _, pattern = self._text(step).partition(" ")
                for _ in range(int(count)):
                    self._reply = await self._next_reply()
                    assert re.match(pattern, self._reply), f"came: {self._reply!r}"
            case "S+" | "S-":
                found = re.search(self._text(step), self._reply, re.MULTILINE)
                assert (found is not None) == (step.kind == "S+"), f"came: {self._reply!r}"
            case "closed":
                async with asyncio.timeout(PATIENCE):
                    rest = await self._reader.read()
                assert rest == b"", f"came: {rest!r}"
            case "tls":
                await self._writer.start_tls(_blind_context(), server_hostname="mta.sender.example")
            case "begin" | "data":
                await self._begin(data=step.kind == "data")
            case "G" | "G-" | "E" | "E-" | "D" | "D-":
                await self._look(step)
            case "on":
                pass
            case _:
                raise ValueError(f"{self._check.table}.txt:{step.line}: no step of a server's table")

    async def _begin(self, *, data: bool) -> None:
        lines = f"MAIL FROM:<{self._variables['sender']}>\r\nRCPT TO:<{self._variables['rcpt']}>\r\n"
        await self._say(lines.encode() + (b"DATA\r\n" if data else b""), replies=3 if data else 2)

    async def _say(self, lines: bytes, *, replies: int) -> None:
        self._writer.write(lines)
        for _ in range(replies):
            self._reply = await self._next_reply()
            assert self._reply[0] in "23", f"came: {self._reply!r}"

    async def _look(self, step: Step) -> None:
        """Wait for what came of this check's message, and look into it."""
        world, me = self._world, self._variables["me"]
        ledger = world.home.ledger if step.kind.startswith("D") else world.receiver.ledger

        def mine(ledger: Ledger) -> list[Receipt]:
            return [one for one in ledger.accepted if any(me in to.address for to in one.recipients)]

        await world.patiently(ledger.wait_until(lambda ledger: bool(mine(ledger))))
        receipt = mine(ledger)[-1]
        text = _envelope(receipt) if step.kind.startswith("E") else receipt.content.decode("utf-8", "surrogateescape")
        found = re.search(self._text(step), text, re.MULTILINE)
        assert (found is None) == step.kind.endswith("-"), f"came: {text}"

    def _line(self, step: Step) -> bytes:
        return octets(step.text, self._variables) + (b"\r\n" if step.kind == "C" else b"")

    def _text(self, step: Step) -> str:
        return expand(step.text, {name: re.escape(value) for name, value in self._variables.items()})

    async def _next_reply(self) -> str:
        """The next reply, its lines joined by LF. Asserts that it has the form of RFC 5321 4.2."""
        lines = b""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await self._reader.readuntil(b"\n")
                lines += line
                if line[3:4] != b"-":
                    break
        assert _REPLY.fullmatch(lines), f"not a reply: {lines!r}"
        assert len({one[:3] for one in lines.splitlines()}) == 1, f"different codes: {lines!r}"
        return lines.decode("ascii").replace("\r\n", "\n").removesuffix("\n")


def _envelope(receipt: Receipt) -> str:
    sender = " ".join((f"MAIL FROM:<{receipt.sender.address}>", *receipt.sender.parameters))
    recipients = (" ".join((f"RCPT TO:<{to.address}>", *to.parameters)) for to in receipt.recipients)
    return "\n".join((sender, *recipients))


def _blind_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
