"""Plays the receiver of a dialogue: the service's own client connects, and must say what the table says."""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

from mta.mail.message import Body, ByMode, DeliverBy, Notify, Return
from tests.conformance.dialogue import Check, Step, expand, grouped, octets
from tests.flow.far_end import FarEnd

PATIENCE = 20.0  # seconds for any line
QUIET = 0.02  # seconds in which nothing may come where the client must wait

_HEAD = "From: ann@sender.example\r\nSubject: hello\r\n\r\n"


class ScriptedReceiver:
    """One check, for one connection. Start it, deliver, and look at ``wrong``."""

    def __init__(self, check: Check, tls: ssl.SSLContext) -> None:
        self._check, self._tls = check, tls
        self._over = asyncio.Event()
        self.wrong: str | None = None

    async def start(self, address: str) -> int:
        self._server = await asyncio.start_server(self._serve, address, limit=1 << 20)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()

    async def over(self) -> None:
        """Wait for the dialogue's end."""
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._over.is_set():  # another try of the client: it is told that nobody is there
            writer.close()
            return
        self._reader, self._writer = reader, writer
        try:
            await self._greet()
            for group in grouped(self._check.steps):
                try:
                    await self._step(group)
                except (AssertionError, TimeoutError, asyncio.IncompleteReadError) as error:
                    where = f"{self._check.table}.txt:{group[0].line}: {self._check.id}"
                    self.wrong = self.wrong or f"{where}: {group[0].kind} {group[0].text}: {error!r}"
                    break
        finally:
            self._over.set()
            writer.close()

    async def _greet(self) -> None:
        words = self._check.places
        if "raw" in words:
            return
        offered = [word.replace("|", " ") for word in words[words.index("offers") + 1 :]]
        self._writer.write(b"220 mx.example.com ESMTP\r\n")
        hello = await self._line()
        assert hello == "EHLO out.sender.example", hello
        lines = ["mx.example.com", *offered]
        reply = "".join(f"250{'-' if n < len(lines) else ' '}{line}\r\n" for n, line in enumerate(lines, 1))
        self._writer.write(reply.encode())

    async def _step(self, group: list[Step]) -> None:
        step = group[0]
        match step.kind:
            case "S" | "s":
                end = b"\r\n" if step.kind == "S" else b""
                self._writer.write(b"".join(octets(one.text, {}) + end for one in group))
            case "C":
                for one in group:
                    line = await self._line()
                    assert re.match(expand(one.text, {}), line), f"came: {line!r}"
            case "M":
                async with asyncio.timeout(PATIENCE):
                    message = (await self._reader.readuntil(b"\r\n.\r\n")).decode("utf-8", "replace")
                assert re.search(step.text, message), f"came: {message!r}"
            case "alone":
                try:
                    async with asyncio.timeout(QUIET):
                        more = await self._reader.read(1000)
                except TimeoutError:
                    return
                raise AssertionError(f"came too early: {more!r}")
            case "closed":
                self._writer.write_eof()
                async with asyncio.timeout(PATIENCE):
                    await self._reader.read()
            case "tls":
                await self._writer.start_tls(self._tls)
            case "on" | "R" | "deviates":
                pass
            case _:
                raise ValueError(f"{self._check.table}.txt:{step.line}: no step of the client's table")

    async def _line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readuntil(b"\n")
        assert line.endswith(b"\r\n"), f"a bare LF: {line!r}"
        return line[:-2].decode()


async def converse(check: Check, far: FarEnd, receiver: ScriptedReceiver) -> list[str]:
    """Deliver what the check is about to ``receiver``; what is wrong."""
    words = check.places
    fields: dict[str, Any] = {}
    text = _HEAD + "All work and no play.\r\n"
    recipients = ["bob@example.com", "eve@example.com"] if "two" in words else ["bob@example.com"]
    if "eight" in words:
        text, fields["body"] = _HEAD + "Grüße\r\n", Body.EIGHT_BIT
    if "dots" in words:
        text = _HEAD + ".one\r\n.\r\n..three\r\n"
    if "unended" in words:
        text = _HEAD + "no end"
    if "null" in words:
        fields["sender"] = None
    if "mixed" in words:
        recipients = ["MixedCase@example.com"]
    if "utf8" in words:
        recipients, fields["smtputf8"] = ["änne@example.com"], True
    if "dsn" in words:
        fields |= {"ret": Return("HDRS"), "envid": "QQ314"}
        fields["0"] = {"notify": Notify.SUCCESS | Notify.FAILURE, "orcpt": "rfc822;old@example.com"}
    if "urgent" in words:
        fields["priority"] = 4
    if "within" in words:
        fields["deliver_by"] = DeliverBy(datetime.now(UTC) + timedelta(minutes=5), ByMode.RETURN, trace=True)
    attempt = await far.deliver(*recipients, content=text.encode(), **fields)
    if "quits" in words:
        await far.courier.close()
    await receiver.over()
    got = {one.recipient.address.local: str(one.reply) for one in attempt.results}
    wrong = [receiver.wrong] if receiver.wrong else []
    for step in check.steps:
        if step.kind == "R":
            who, _, said = step.text.partition(" ")
            if not got[who].startswith(said):
                wrong.append(f"{check.table}.txt:{step.line}: {check.id}: R {step.text}: {got}")
    return wrong
