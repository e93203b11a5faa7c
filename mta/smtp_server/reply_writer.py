"""The two voices of a session: what the client's next line is, and what we say to it.

What is said waits until the client has nothing more for us, and then goes out in one write: the replies to a group of
pipelined commands are one packet (RFC 2920 3.2). Refusals are counted here.

It must never keep the client waiting for what was said already, and never show an AUTH exchange or a message to
whoever is tracing.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode

from mta.mail.reply import Reply
from mta.smtp_server import replies
from mta.smtp_server.client import Client
from mta.smtp_server.commands import VERBS, shown
from mta.smtp_server.context import ServerContext
from mta.smtp_server.line_reader import LineReader
from mta.smtp_server.replies import CloseSession, ConnectionLost

HIDDEN = "********"


class ReplyWriter:
    """One session's. ``errors`` is what may become too much; ``refusals`` is for the event log."""

    __slots__ = (
        "_client",
        "_input",
        "_out",
        "_service",
        "_writer",
        "client_is_gone",
        "client_is_slow",
        "errors",
        "refusals",
    )

    def __init__(
        self, service: ServerContext, client: Client, received: LineReader, writer: asyncio.StreamWriter
    ) -> None:
        self._service = service
        self._client = client
        self._input = received
        self._writer = writer
        self._out: list[bytes] = []
        self.errors = 0
        self.refusals = 0
        self.client_is_slow = False  # to take what we say
        self.client_is_gone = False

    async def hear(self) -> bytes:
        """The client's next line, without CRLF. Raises Refusal, Farewell, Hangup."""
        while (line := self._input.line()) is None:
            await self.flush()
            await self._input.more()
        return line

    async def challenge(self, text: bytes) -> bytes:
        """The client's answer to a challenge of AUTH, still in base64 (RFC 4954 4)."""
        self._out.append(b"334 %b\r\n" % b64encode(text))
        if self._service.trace.active:
            self.show(f"334 {HIDDEN}", sent=True)
        await self.flush()
        answer = await self.hear()
        if self._service.trace.active:
            self.show(HIDDEN, sent=False)
        return answer

    def say(self, reply: Reply) -> None:
        self._out.append(replies.encode(reply))
        if self._service.trace.active:
            self.show(str(reply), sent=True)

    def say_line(self, line: str) -> None:
        """A reply without an enhanced code; several lines if it has CRLF inside."""
        self._out.append(f"{line}\r\n".encode())
        if self._service.trace.active:
            self.show(line.replace("\r", ""), sent=True)

    async def flush(self) -> None:
        """Send what was said. Raises Hangup."""
        if self._out:
            if self.client_is_gone:
                raise ConnectionLost
            self._writer.write(b"".join(self._out))
            self._out.clear()
            if self.client_is_slow:
                try:
                    await self._writer.drain()
                except ConnectionError:
                    raise ConnectionLost from None

    async def flush_before_waiting(self) -> None:
        """As ``flush``, unless the client has sent more already."""
        if self._out and not self._input.buffer:
            await self.flush()

    def close(self) -> None:
        """Send what was said and end the connection: no waiting."""
        if self._out and not self.client_is_gone:
            self._writer.write(b"".join(self._out))
        self._writer.close()

    def refuse(self, verb: str, reply: Reply) -> None:
        """Say no, record and count it. Raises Farewell when it was once too often."""
        self.say(reply)
        self.record(verb, reply)
        self.count_error(verb)

    def record(self, verb: str, reply: Reply) -> None:
        """A refusal of ours, for metrics and the event log."""
        client = self._client
        self._service.metrics.rejected(reply)
        self._service.events.rejected(
            reply,
            session=client.session,
            client=client.address,
            verb=verb,
            account=client.account.name if client.account else None,
        )

    def count_error(self, verb: str) -> None:
        """Refused recipients of an account do not count: to cut its list in two would only bring the list again."""
        self.refusals += 1
        if verb == "RCPT" and self._client.account is not None:
            return
        self.errors += 1
        if self.errors >= self._service.limits.errors:
            raise CloseSession(replies.TOO_MANY_ERRORS, "errors")

    def show(self, text: str, *, sent: bool) -> None:
        """Tell whoever is tracing; callers look at ``trace.active`` first."""
        self._service.trace.line("in", self._client.session, str(self._client.address), sent, text)

    def show_command(self, verb: str, argument: str) -> None:
        """Show what the client said, unless a secret may be in it."""
        open_to_all = verb in VERBS and verb != "AUTH"
        self.show(f"{verb} {argument}".rstrip() if open_to_all else f"{shown(verb)} {HIDDEN}", sent=False)
