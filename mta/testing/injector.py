"""Send a load: sessions that each submit one message after another, as applications do.

Invariants: every reply is counted. With a rate, a latency starts when the message was due, not when a session was free:
a server that stalls is not flattered.
Limitations: commands are not pipelined. A rejected message is not sent again.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate

from mta.testing.load import Load, LoadResult, LoadTls
from mta.testing.script import Pacer

REPLY_WITHIN = 300.0  # seconds, as RFC 5321 4.5.3.2 asks of clients
START_WITHIN = 5.0  # seconds in which a server that is being started must answer
MAX_FAILURES = 5  # connections in a row that failed


class LoadError(Exception):
    """Why no load can be sent: the text names the server, what it said and what to do."""


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """The server, and how to log in. ``login``: user name and secret."""

    host: str
    port: int
    tls: LoadTls = LoadTls.NONE
    context: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    hello: str = "load.example"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Injector:
    """Sends one load; ``result`` may be read while it runs."""

    def __init__(self, target: LoadTarget, load: Load) -> None:
        self.result = LoadResult()
        self._target, self._load = target, load
        self._numbers: Iterator[int] = iter(range(load.count))
        self._pacer = Pacer(load.rate) if load.rate else None
        self._failures = 0
        self._given_up = 0.0  # when a server that does not answer at first is not starting either

    async def run(self) -> None:
        """Send everything. Raises LoadError."""
        begun = asyncio.get_running_loop().time()
        self._given_up = begun + START_WITHIN
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._load.sessions, self._load.count)):
                    group.create_task(self._session())
        except ExceptionGroup as errors:
            if isinstance(refused := errors.exceptions[0], LoadError):
                raise refused from None
            raise
        finally:
            self.result.seconds = asyncio.get_running_loop().time() - begun

    async def _session(self) -> None:
        """Send messages over one connection after another until there are none left."""
        loop = asyncio.get_running_loop()
        client: _Client | None = None
        try:
            for n in self._numbers:
                due = loop.time()
                if self._pacer:
                    due = self._pacer.turn(due)
                    await asyncio.sleep(due - loop.time())
                    self.result.late = max(self.result.late, loop.time() - due)
                if client is None:
                    client = await self._connect()
                client = await self._send(client, n, due)
        finally:
            if client:
                await client.quit()

    async def _connect(self) -> _Client:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client = await _Client.open(self._target)
            except (OSError, EOFError, TimeoutError) as error:
                starting = isinstance(error, ConnectionRefusedError) and not self.result.sent
                if starting and loop.time() < self._given_up:
                    await asyncio.sleep(0.2)
                    continue
                self._failures += 1
                self.result.note(f"no connection: {str(error) or type(error).__name__}")
                if self._failures >= MAX_FAILURES or not self.result.sent:
                    raise LoadError(f"{self._target}: {error or type(error).__name__}") from None
                await asyncio.sleep(0.2 * self._failures)
            else:
                self._failures = 0
                self.result.connections += 1
                return client

    async def _send(self, client: _Client, n: int, due: float) -> _Client | None:
        """Submit the ``n``-th message; return the client if its connection can be used again."""
        loop, result = asyncio.get_running_loop(), self.result
        envelope = self._load.envelope(n)
        content = self._load.content(n, envelope, formatdate())
        try:
            reply, taken = await client.submit(self._load.sender, envelope, content)
        except (OSError, EOFError, TimeoutError) as error:
            result.broken += 1
            result.note(f"connection lost: {str(error) or type(error).__name__}")
            client.close()
            return None
        result.latencies.add(loop.time() - due)
        result.note(reply)
        if reply.startswith("2"):
            result.accepted += 1
            result.recipients += taken
            result.octets += len(content)
        else:
            result.rejected += 1
        client.used += 1
        if client.used >= self._load.per_connection or reply.startswith("421"):
            await client.quit()
            return None
        return client


class _Client:
    """One connection, logged in. Its methods raise OSError, EOFError and TimeoutError when it is lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.used = 0

    @classmethod
    async def open(cls, target: LoadTarget) -> _Client:
        """Raises LoadError if the server refuses the session."""
        implicit = target.context if target.tls is LoadTls.IMPLICIT else None
        client = cls(*await asyncio.open_connection(target.host, target.port, ssl=implicit))
        try:
            await client._greet(target)
        except BaseException:
            client.close()
            raise
        return client

    async def _greet(self, target: LoadTarget) -> None:
        def wanted(reply: str, code: str, what: str) -> None:
            if not reply.startswith(code):
                raise LoadError(f"{target}: {what}: {reply}")

        wanted(await self._reply(), "220", "no greeting")
        wanted(await self._ask(f"EHLO {target.hello}"), "250", "EHLO was refused")
        if target.tls is LoadTls.STARTTLS:
            wanted(await self._ask("STARTTLS"), "220", "no STARTTLS (--tls none?)")
            assert target.context
            await self._writer.start_tls(target.context, server_hostname=target.host)
            wanted(await self._ask(f"EHLO {target.hello}"), "250", "EHLO was refused")
        if target.login:
            user, secret = target.login
            blob = base64.b64encode(f"\0{user}\0{secret}".encode()).decode()
            wanted(await self._ask(f"AUTH PLAIN {blob}"), "235", f"the login of {user} was refused")

    async def submit(self, sender: str, recipients: list[str], content: bytes) -> tuple[str, int]:
        """Return the deciding reply, and how many recipients were taken."""
        reply = await self._ask(f"MAIL FROM:<{sender}>")
        if not reply.startswith("2"):
            return await self._reset(reply), 0
        answers = [await self._ask(f"RCPT TO:<{each}>") for each in recipients]
        taken = sum(answer.startswith("2") for answer in answers)
        if not taken:
            return await self._reset(answers[0]), 0
        reply = await self._ask("DATA")
        if not reply.startswith("354"):
            return await self._reset(reply), 0
        self._writer.write(content)
        await self._writer.drain()
        return await self._reply(), taken

    async def _reset(self, reply: str) -> str:
        if not reply.startswith("421"):
            await self._ask("RSET")
        return reply

    async def quit(self) -> None:
        try:
            await self._ask("QUIT")
        except (OSError, EOFError, TimeoutError):
            pass  # the messages have their replies
        self.close()

    def close(self) -> None:
        self._writer.close()

    async def _ask(self, line: str) -> str:
        self._writer.write(f"{line}\r\n".encode())
        return await self._reply()

    async def _reply(self) -> str:
        async with asyncio.timeout(REPLY_WITHIN):
            lines = []
            while True:
                line = await self._reader.readline()
                if not line.endswith(b"\n"):
                    raise EOFError("the server closed the connection")
                lines.append(line.decode("utf-8", "backslashreplace").rstrip("\r\n"))
                if line[3:4] != b"-":
                    return " ".join([lines[0].replace("-", " ", 1), *(each[4:] for each in lines[1:])])
