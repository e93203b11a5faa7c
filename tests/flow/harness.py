"""A small world around a real ``mta serve``: scripted receivers and name server, a client, and the database.

The service is a child process, as an operator would start it; what is asserted is what came over real sockets
and what stands in the real database. Every wait ends with an event or with the test's own time limit.

*Limits.* Receivers and name server run in the test's process and share its event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import aiosmtplib
import asyncpg
import orjson

from bench.service import merged
from mta.mail.identity import parse_id
from mta.mail.reply import Reply
from mta.testing.nameserver import DnsFault, NameServer, Node
from mta.testing.receiver import Receiver
from mta.testing.script import Ledger, Receipt, Script
from tests.warm_service import WarmService

T = TypeVar("T")

SENDER = "ann@sender.example"
PATIENCE = 30.0  # seconds for anything that must happen
LOOK_EVERY = 0.03  # seconds between looks at the database

_ACCOUNT = """
with new as (insert into account (name, status) values ('shop', 'active') returning id),
     domain as (insert into sender_domain (domain, account_id, verified_at) select 'sender.example', id, now() from new)
insert into client_network (network, account_id) select '127.0.0.0/8', id from new
"""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the event table."""

    kind: str
    recipient_index: int | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to the final dot, and the message's id if that was 250."""

    reply: Reply
    id: UUID | None


@dataclass
class World:
    """``receiver`` takes the mail of example.com, at 127.0.0.2; ``home`` that of the sender's domain, at 127.0.0.3.

    ``domain`` and ``add_receiver`` make more of the world.
    """

    directory: Path
    database_url: str
    zone: dict[str, Node | DnsFault] = field(default_factory=dict)
    receiver: Receiver = field(default_factory=Receiver)
    settings: dict[str, Any] = field(default_factory=dict)
    login: tuple[str, str] | None = None  # of transactional mail, where the account's network may not send it

    async def open(self) -> None:
        """Bring up everything but the service."""
        self.receivers = [self.receiver]
        self.nameserver = NameServer(self.zone)
        self.receiver_port = await self.receiver.start("127.0.0.2")
        self.domain("example.com", "127.0.0.2")
        self.home = await self.add_receiver("127.0.0.3")
        self.domain("sender.example", "127.0.0.3")
        await self.connect()
        await self.db.execute(_ACCOUNT)
        base = _settings(self.database_url, await self.nameserver.start(), self.receiver_port)
        self.service = WarmService(self.directory, merged(base, self.settings))

    async def connect(self) -> None:
        """Look into the database (again, if it was away)."""
        self.db = await asyncpg.connect(self.database_url)

    async def close(self) -> None:
        """Stop everything."""
        await asyncio.to_thread(self.service.stop)
        await self.nameserver.stop()
        for receiver in self.receivers:
            await receiver.stop()
        await self.db.close()

    async def start(self, **settings: Any) -> None:
        """Run the service, with ``settings`` (sections of its configuration) laid over the world's."""
        self.service.settings = merged(self.service.settings, settings)
        self.service.configure()
        await asyncio.to_thread(self.service.start)

    async def add_receiver(self, address: str, script: Script | None = None) -> Receiver:
        """One more receiver, at the port that all receivers share."""
        receiver = Receiver(script)
        await receiver.start(address, self.receiver_port)
        self.receivers.append(receiver)
        return receiver

    def domain(self, name: str, *addresses: str) -> None:
        """``name`` has one MX for each address, the first one preferred."""
        hosts = [f"mx{n}.{name}" for n in range(1, len(addresses) + 1)]
        self.zone[name] = Node(mx=tuple((10 * n, host) for n, host in enumerate(hosts, 1)))
        for host, address in zip(hosts, addresses, strict=True):
            self.zone[host] = Node(a=(address,))

    @property
    def taken(self) -> list[Receipt]:
        """What the receiver of example.com has answered with 250."""
        return self.receiver.ledger.accepted

    async def received(self, count: int, ledger: Ledger | None = None) -> list[Receipt]:
        """Wait until a receiver has accepted ``count`` messages, and return all it has."""
        ledger = ledger or self.receiver.ledger
        await self.patiently(ledger.wait_until(lambda ledger: len(ledger.accepted) >= count))
        return ledger.accepted

    def client(self) -> aiosmtplib.SMTP:
        """A client that will connect to the service."""
        return aiosmtplib.SMTP(hostname="127.0.0.1", port=self.service.port, use_tls=False, start_tls=False, timeout=30)

    async def submit(
        self,
        *recipients: str,
        sender: str = SENDER,
        content: bytes | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        by_network: bool = False,
    ) -> Submitted:
        """Hand a message in; marketing mail, or ``by_network``, without a login. Raises AssertionError if it is refused
        before its content."""
        content = content or message()
        by_network = by_network or b"X-MTA-Stream: marketing" in content
        async with self.client() as smtp:
            await smtp.ehlo()
            if self.login and not by_network:
                await smtp.login(*self.login)
            await smtp.mail(sender, options=list(mail_options), encoding="utf-8")
            for recipient in recipients:
                await smtp.rcpt(recipient, options=list(rcpt_options), encoding="utf-8")
            try:
                answer = await smtp.data(content)
            except aiosmtplib.SMTPResponseException as error:
                return Submitted(Reply.parse(error.code, error.message), None)
        found = re.search(r"queued as (\S+)", answer.message)
        assert found, answer
        return Submitted(Reply.parse(answer.code, answer.message), parse_id(found[1]))

    async def accept(self, *recipients: str, **options: Any) -> UUID:
        """Hand a message in that must be accepted; its id."""
        submitted = await self.submit(*recipients, **options)
        assert submitted.id, submitted.reply
        return submitted.id

    async def events(self, message_id: UUID) -> list[Event]:
        """What the database says happened to a message, in order."""
        rows = await self.db.fetch(
            "select kind, recipient_index, data from event where message_id = $1 order by id", message_id
        )
        return [Event(row["kind"], row["recipient_index"], orjson.loads(row["data"])) for row in rows]

    async def until_event(self, message_id: UUID, kind: str, count: int = 1) -> list[Event]:
        """Wait until a message has ``count`` events of a kind; those events."""

        async def found() -> list[Event]:
            events = [event for event in await self.events(message_id) if event.kind == kind]
            return events if len(events) >= count else []

        return await self.until(found)

    async def until_ended(self, message_id: UUID) -> list[Event]:
        """Wait until nothing of a message is queued any more; its events."""

        async def gone() -> bool:
            return not await self.db.fetchval("select count(*) from queue where message_id = $1", message_id)

        await self.until(gone)
        return await self.events(message_id)

    async def until(self, condition: Callable[[], Awaitable[T]]) -> T:
        """Look at the database until ``condition`` holds; what it returned."""

        async def look() -> T:
            while True:
                if result := await condition():
                    return result
                await asyncio.sleep(LOOK_EVERY)

        return await self.patiently(look())

    async def patiently(self, waiting: Awaitable[T]) -> T:
        """Wait for PATIENCE at most. Raises AssertionError with the state of the world."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await waiting
        except TimeoutError:
            queue = [
                dict(row)
                for row in await self.db.fetch(
                    "select recipient_index, address, holds, lease, attempts, due_at from queue"
                )
            ]
            events = [
                tuple(row)
                for row in await self.db.fetch("select kind, recipient_index, data from event order by id limit 20")
            ]
            raise AssertionError(f"queue: {queue}\nevents: {events}\nservice: {self.service.output()}") from None

    async def suppressed(self) -> dict[str, str]:
        """The suppressed addresses, and by which rule."""
        return {row["address"]: row["rule"] for row in await self.db.fetch("select address, rule from suppression")}


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that other users may enter: as root, PostgreSQL, Postfix and Exim run as others."""
    with tempfile.TemporaryDirectory(prefix="imprimatur-flow-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@contextlib.asynccontextmanager
async def open_world(directory: Path, database_url: str) -> AsyncIterator[World]:
    """A world without its service, which the test starts with the settings it needs."""
    world = World(directory, database_url)
    await world.open()
    try:
        yield world
    finally:
        await world.close()


def message(subject: str = "Hello", sender: str = SENDER, body: str = "One line.\r\n") -> bytes:
    """A plain message."""
    return (
        f"From: {sender}\r\nTo: You <you@example.com>\r\nSubject: {subject}\r\n"
        f"Date: Mon, 3 Mar 2025 09:30:00 +0000\r\nMessage-ID: <{subject.replace(' ', '.')}@sender.example>\r\n"
        f"\r\n{body}"
    ).encode()


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events]


def _settings(database_url: str, dns_port: int, receiver_port: int) -> dict[str, Any]:
    """Quick retries, short patience, one worker."""
    return {
        "server": {"hostname": "mta.sender.example", "workers": 1, "shutdown_grace": "5s"},
        "database": {"url": database_url, "timeout": "2s", "lease": "5s"},
        "queue": {"retry_schedule": ["200ms"], "poll": "100ms", "delay_dsn_after": "0s"},
        "dns": {"servers": [f"127.0.0.1:{dns_port}"], "timeout": "2s"},
        "egress": {
            "ipv6": False,
            "timeouts": {"connect": "2s", "greeting": "3s", "rcpt": "3s", "final_dot": "3s"},
        },
        "testing": {"receiver_port": receiver_port, "loopback_receivers": True},
        "shaping": {"default": {"backoff": "300ms", "tls": "none"}},
    }
