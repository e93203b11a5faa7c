"""Real listeners on the loopback, a handler that remembers, and a client that sees every octet."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import trustme

from config.schema import Limits, Listener
from mta.mail.address import Address
from mta.mail.large_body import LargeBody
from mta.mail.message import Envelope, IPAddress, Recipient
from mta.mail.reply import Reply
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.observe.sink import Sink
from mta.observe.trace import Trace
from mta.smtp_server.auth.authenticator import Authenticator, make_verifiers
from mta.smtp_server.handler import Client
from mta.smtp_server.listener import Listeners, bind
from policy.accounts.account import Account, Grant

ACCOUNT = Account(7, "shop", frozenset({"shop.example"}))
HELLO = b"EHLO app.test\r\n"
MAIL = b"MAIL FROM:<news@shop.example>\r\n"
RCPT = b"RCPT TO:<ann@customer.example>\r\n"
BEGIN = HELLO + MAIL + RCPT
MESSAGE = b"From: news@shop.example\r\nSubject: hello\r\n\r\nbody\r\n"


@dataclass(frozen=True)
class Credential:
    username: str
    account: Account
    argon2: str
    scram: str
    grant: Grant = field(default_factory=Grant)


@dataclass
class Accounts:
    credentials: dict[str, Credential] = field(default_factory=dict)
    networks: dict[Any, Account] = field(default_factory=dict)

    def by_credential(self, username: str) -> Credential | None:
        return self.credentials.get(username)

    def by_network(self, address: IPAddress) -> Account | None:
        return next((account for network, account in self.networks.items() if address in network), None)

    def add(self, username: str, secret: str) -> Credential:
        credential = self.credentials[username] = Credential(username, ACCOUNT, *make_verifiers(secret))
        return credential


@dataclass
class Taken:
    client: Client
    envelope: Envelope
    content: bytes


class RecordingHandler:
    """Accepts everything and remembers it. What it answers may be replaced: ``sender``, ``recipient``, ``message``."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.sizes: list[int | None] = []
        self.ahead: list[list[str]] = []
        self.sender: Callable[[Envelope], Awaitable[Reply | None]] = _yes
        self.recipient: Callable[[Recipient], Awaitable[Reply | None]] = _yes
        self.message: Callable[[Taken], Awaitable[Reply | None]] = _yes

    async def on_sender(self, client: Client, envelope: Envelope, size: int | None) -> RecordingTransaction | Reply:
        self.sizes.append(size)
        return await self.sender(envelope) or RecordingTransaction(self, client)


@dataclass
class RecordingTransaction:
    handler: RecordingHandler
    client: Client

    async def on_recipient(self, recipient: Recipient, ahead: Sequence[Address] = ()) -> Reply | None:
        self.handler.ahead.append([str(address) for address in ahead])
        return await self.handler.recipient(recipient)

    async def on_message(self, envelope: Envelope, content: bytes, large: LargeBody | None = None) -> Reply:
        if large:
            content = await large.whole()
        taken = Taken(self.client, envelope, content)
        reply = await self.handler.message(taken) or Reply(250, "2.0.0", "OK: queued")
        self.handler.taken.append(taken)
        return reply


async def _yes(_: Any) -> None:
    return None


class ListSink(Sink):
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class ListTrace(Trace):
    """A trace that is being read."""

    def __init__(self) -> None:
        super().__init__(Path("unused"), Metrics())
        self.active = True
        self.lines: list[str] = []

    def line(self, side: str, session: str, peer: str, sent: bool, text: str) -> None:
        self.lines.append(f"{'S' if sent else 'C'}: {text}")


class Talker:
    """A client that says what it is told and reports what it hears."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def reply(self) -> str:
        """The next reply, its lines joined with newlines; "" at the end of the connection."""
        lines = []
        while True:
            line = (await self.reader.readline()).decode()
            lines.append(line.removesuffix("\r\n"))
            if line[3:4] != "-":
                return "\n".join(lines)

    async def replies(self, count: int) -> list[str]:
        return [await self.reply() for _ in range(count)]

    async def ask(self, octets: bytes | str) -> str:
        """The reply to one line (CRLF is added to a str)."""
        self.send(octets if isinstance(octets, bytes) else f"{octets}\r\n".encode())
        return await self.reply()

    async def codes(self, octets: bytes, count: int) -> list[str]:
        """The codes of the replies to some pipelined commands."""
        self.send(octets)
        return [reply[:3] for reply in await self.replies(count)]

    async def rest(self) -> str:
        """All that comes until the server closes the connection."""
        try:
            return (await self.reader.read()).decode()
        except ConnectionError:
            return ""

    async def start_tls(self, context: ssl.SSLContext) -> None:
        await self.writer.start_tls(context, server_hostname="mx.test")

    def close(self) -> None:
        self.writer.close()


class Rig:
    def __init__(self, listeners: Listeners, ports: list[int], parts: dict[str, Any]) -> None:
        self.listeners = listeners
        self.ports = ports
        self.handler: RecordingHandler = parts["handler"]
        self.accounts: Accounts = parts["accounts"]
        self.authenticator: Authenticator = parts["authenticator"]
        self.events: ListSink = parts["events"]
        self.metrics: Metrics = parts["metrics"]
        self.trace: Trace = parts["trace"]
        self._talkers: list[Talker] = []

    @property
    def taken(self) -> list[Taken]:
        return self.handler.taken

    async def connect(self, *, n: int = 0, tls: ssl.SSLContext | None = None, first: bytes = b"") -> Talker:
        """A connection to the ``n``-th listener; ``first`` is sent before anything is read."""
        name = {"server_hostname": "mx.test"} if tls else {}
        if first:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[n])
            writer.write(first)
            if tls:
                await writer.start_tls(tls, **name)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[n], ssl=tls, **name)
        talker = Talker(reader, writer)
        self._talkers.append(talker)
        return talker

    async def greeted(self, **how: Any) -> Talker:
        """A connection whose greeting has been read."""
        talker = await self.connect(**how)
        assert (await talker.reply()).startswith("220 ")
        return talker

    async def said_hello(self, **how: Any) -> Talker:
        talker = await self.greeted(**how)
        assert (await talker.ask(HELLO)).startswith("250-")
        return talker

    async def in_transaction(self, **how: Any) -> Talker:
        """A connection with a sender and a recipient accepted."""
        talker = await self.said_hello(**how)
        assert await talker.codes(MAIL + RCPT, 2) == ["250", "250"]
        return talker

    async def all_left(self) -> None:
        """Wait until no session is open."""
        tasks = [session.task for session in self.listeners._context.sessions]
        if tasks:
            await asyncio.wait(tasks)

    def close(self) -> None:
        for talker in self._talkers:
            talker.close()


class FakeTransport(asyncio.Transport):
    """Keeps what is written; its protocol is fed by hand."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 4711)})
        self.written = b""
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.closed.set()

    abort = close


@cache
def certificates() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for the server mx.test and for its clients."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@asynccontextmanager
async def submission(
    *,
    listeners: Iterable[dict[str, Any]] = ({"tls": "none"},),
    limits: dict[str, Any] | None = None,
    networks: Iterable[str] = ("127.0.0.0/8",),
    trace: Trace | None = None,
    clock: Callable[[], float] | None = None,
    disk: DiskWatch | None = None,
) -> AsyncIterator[Rig]:
    """The submission side of a service. Clients in ``networks`` are those of ACCOUNT."""
    fixed = Limits(**(limits or {}))
    accounts = Accounts(networks={ip_network(network): ACCOUNT for network in networks})
    extra = {"clock": clock} if clock else {}
    events, metrics = ListSink(), Metrics()
    parts: dict[str, Any] = {
        "handler": RecordingHandler(),
        "authenticator": Authenticator(accounts, fixed, salt_key=b"salt", **extra),
        "trace": trace or Trace(Path("unused"), metrics),
        "metrics": metrics,
    }
    sockets = [(each, bind(each)) for each in (Listener(**{"port": 0, **listener}) for listener in listeners)]
    running = Listeners(
        fixed,
        sockets,
        hostname="mx.test",
        tls=certificates()[0],
        events=EventLog(events),
        tasks=BackgroundTasks(metrics),
        disk=disk,
        **parts,
    )
    ports = [bound.getsockname()[1] for _, bound in sockets]
    await running.start()
    rig = Rig(running, ports, {**parts, "accounts": accounts, "events": events})
    try:
        yield rig
    finally:
        rig.close()
        await running.stop(0)
