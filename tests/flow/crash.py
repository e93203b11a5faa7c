"""Three ledgers that must agree whatever is killed: what clients were told, what receivers took, what is recorded.

    LOST       told 250, and a recipient never got it                 must be none
    TORN       the receiver's octets do not end with the client's     must be none
    PHANTOM    delivered, but not submitted, or to somebody else      must be none
    DUPLICATE  delivered twice; allowed only if the first copy was AMBIGUOUS: taken by the receiver before the
               fault, and not yet recorded as delivered at the fault

One service lives through all seeds of a test; its receivers and name server are in the test's process and are never
killed.

*Limits.* The kernel lives on: a power cut is another test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import asyncpg

from bench.service import Service, free_port
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.testing.nameserver import NameServer, Node
from mta.testing.receiver import Receiver
from mta.testing.script import FRIENDLY, Receipt, ReceiverStage, Script, ScriptedReply, ScriptRule

DOMAINS = 5
CLIENTS = 8
WORKERS = 2
CONNECTIONS = 10  # to each domain, over all workers
LEASE = 5.0  # seconds
RECOVERY = 60.0  # seconds within which everything accepted must have been delivered
CLIENT_PAUSE = 0.05  # seconds before a client tries again
RECEIVER_ADDRESS = "127.0.0.2"

_ON_THE_WAY = 0.2  # seconds in which what was sent before the fault may still be read by the receiver
_ID = re.compile(rb"(?m)^X-Test-Id: (\S+)\r$")
_RECORDED_TWICE = """
select count(*) from (select from event where kind = 'delivered' group by message_id,
    recipient_index having count(*) > 1) as twice
"""
_WITHOUT_END = """
select (select sum(recipients) from message) - (select count(*) from event where kind = 'delivered')
"""
_RECORDED = """
select split_part(trim(leading '<' from record->'summary'->>'message-id'), '@', 1) as test_id, recipient_index
from event join message on message.id = message_id where kind = 'delivered' and at <= to_timestamp($1)
"""
_LETTERS = "abcdefghijklmnopqrstuvwxyz "


def seeds() -> list[int]:
    """CRASH_SEEDS of them (2), or the one that CRASH_SEED names."""
    if one := os.environ.get("CRASH_SEED"):
        return [int(one)]
    return list(range(int(os.environ.get("CRASH_SEEDS", "2"))))


class Answer(Enum):
    """What a client knows of a message it sent."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"  # the connection was lost after the final dot


@dataclass(slots=True)
class Submission:
    """A message as its client knows it."""

    recipients: tuple[str, ...]
    content: bytes
    answer: Answer = Answer.UNKNOWN
    reply: str = ""


@dataclass
class Standing:
    """A service that outlives each test of a file: its directory and the ports its configuration names."""

    service: Service
    receiver_port: int
    dns_port: int

    @property
    def dsn(self) -> str:
        """The database, which must be running."""
        dsn = EmbeddedPostgres(self.service.data / "postgres").running()
        assert dsn, "the database is not running"
        return dsn


def stand(directory: Path) -> Standing:
    """A new service with an account, running."""
    receiver_port, dns_port = free_port(RECEIVER_ADDRESS), free_port()
    service = Service(directory, _settings(receiver_port, dns_port))
    service.configure()
    service.cli(
        "account",
        "add",
        "shop",
        "--domain",
        "sender.example",
        "--network",
        "127.0.0.0/8",
        "--approve",
        "a test",
        "--verified",
    )
    service.start()
    return Standing(service, receiver_port, dns_port)


def _settings(receiver_port: int, dns_port: int) -> dict[str, Any]:
    return {
        "server": {"hostname": "mta.sender.example", "workers": WORKERS, "shutdown_grace": "10s"},
        "database": {"timeout": "2s", "lease": f"{LEASE:.0f}s"},
        "queue": {"retry_schedule": ["500ms"], "poll": "200ms"},
        "dns": {"servers": [f"127.0.0.1:{dns_port}"]},
        "egress": {"ipv6": False, "tls": "none"},
        "testing": {"receiver_port": receiver_port, "loopback_receivers": True},
        "shaping": {"default": {"connections": CONNECTIONS, "backoff": "500ms"}},
    }


@dataclass
class Trial:
    """One seed: the load, the fault, and what the ledgers say."""

    standing: Standing
    seed: int
    receiver: Receiver
    submissions: dict[str, Submission] = field(default_factory=dict)
    fault_at: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._stop = asyncio.Event()
        self._numbers = iter(range(1_000_000))

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Clients that submit for as long as the block lasts, whatever happens to their connections."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())
            try:
                yield
            finally:
                self._stop.set()

    async def moment(self, least: float = 0.2, most: float = 1.5) -> None:
        """Let the load run for a time that the seed chooses."""
        await asyncio.sleep(self.random.uniform(least, most))

    def struck(self) -> None:
        """The fault has happened."""
        self.fault_at = time.time()

    async def _client(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._session()
            await asyncio.sleep(CLIENT_PAUSE)

    async def _session(self) -> None:
        """Submit one message after the other. Raises OSError, IncompleteReadError when the connection is lost."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.standing.service.port)
        try:
            await _reply(reader)
            await _command(reader, writer, b"EHLO client.sender.example\r\n")
            while not self._stop.is_set():
                await self._submit(reader, writer)
        finally:
            writer.close()

    async def _submit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        test_id, submission = self._compose()
        commands = ["MAIL FROM:<ann@sender.example>", *(f"RCPT TO:<{to}>" for to in submission.recipients), "DATA"]
        for command in commands:
            if (await _command(reader, writer, command.encode() + b"\r\n")).startswith(("4", "5")):
                await _command(reader, writer, b"RSET\r\n")
                await asyncio.sleep(CLIENT_PAUSE)
                return
        self.submissions[test_id] = submission
        submission.reply = await _command(reader, writer, submission.content + b".\r\n")
        submission.answer = Answer.ACCEPTED if submission.reply.startswith("250") else Answer.REFUSED

    def _compose(self) -> tuple[str, Submission]:
        test_id = f"{self.seed}-{next(self._numbers)}-{time.time_ns()}"
        domains = self.random.sample(range(DOMAINS), self.random.choice((1, 1, 1, 2, 3)))
        recipients = tuple(f"r{test_id}@d{n}.example" for n in domains)
        line = "".join(self.random.choices(_LETTERS, k=70)) + "\r\n"
        head = f"From: ann@sender.example\r\nMessage-ID: <{test_id}@sender.example>\r\nX-Test-Id: {test_id}\r\n\r\n"
        return test_id, Submission(recipients, (head + line * self.random.randint(1, 300)).encode())

    async def settle(self) -> None:
        """Wait until the queue is empty. Raises AssertionError with what is left of it after RECOVERY."""
        deadline = time.monotonic() + RECOVERY
        while queued := await self._queued():
            if time.monotonic() > deadline:
                raise AssertionError(f"left in the queue: {queued}\n{self.standing.service.output()}")
            await asyncio.sleep(0.1)

    async def _queued(self) -> list[dict[str, Any]]:
        """Some rows of the queue; a row that says so while the database is away."""
        try:
            database = await asyncpg.connect(self.standing.dsn)
        except (AssertionError, OSError, asyncpg.PostgresError) as error:
            return [{"away": str(error)}]
        try:
            return [dict(row) for row in await database.fetch("select *, now() from queue limit 3")]
        finally:
            await database.close()

    def copies(self) -> Counter[tuple[str, str]]:
        """How often each recipient of each message was delivered to."""
        return Counter(
            (_test_id(receipt), recipient.address)
            for receipt in self.receiver.ledger.accepted
            for recipient in receipt.recipients
        )

    async def judge(self, *, duplicates_allowed: bool = True, in_flight: int = 0) -> None:
        """Compare the three ledgers. Raises AssertionError.

        ``in_flight``: transactions that went on after the fault as if nothing had happened, at most.
        """
        ambiguous = await self._ambiguous_and_sound()
        copies, known = self.copies(), self.submissions
        accepted = {key: one for key, one in known.items() if one.answer is Answer.ACCEPTED}
        duplicates = {pair for pair, count in copies.items() if count > 1}
        print(
            f"seed {self.seed}: {len(known)} sent, {len(accepted)} accepted, {copies.total()} delivered, "
            f"{len(ambiguous)} ambiguous, {len(duplicates)} twice"
        )
        assert accepted, "nothing was accepted: this trial shows nothing"
        lost = [(key, to) for key, one in accepted.items() for to in one.recipients if (key, to) not in copies]
        phantom = [(key, to) for key, to in copies if key not in known or to not in known[key].recipients]
        torn = [one for one in self.receiver.ledger.accepted if not one.content.endswith(known[_test_id(one)].content)]
        assert (lost, phantom, torn) == ([], [], [])
        assert len(duplicates - (ambiguous if duplicates_allowed else set())) <= in_flight
        assert all(copies[pair] == 2 for pair in duplicates)

    async def _ambiguous_and_sound(self) -> set[tuple[str, str]]:
        """Recipients whose copy the receiver had before the fault, and that were not recorded as delivered then.

        Asserts that the database's own books are in order.
        """
        database = await asyncpg.connect(self.standing.dsn)
        try:
            assert await database.fetchval("select count(*) from content") == 0, "content of nobody is left"
            assert await database.fetchval(_RECORDED_TWICE) == 0, "a delivery was recorded twice"
            assert await database.fetchval(_WITHOUT_END) == 0, "a recipient has no end"
            rows = await database.fetch(_RECORDED, self.fault_at)
        finally:
            await database.close()
        recorded = {(row["test_id"], row["recipient_index"]) for row in rows}
        return {
            (test_id, recipient.address)
            for receipt in self.receiver.ledger.accepted
            if receipt.at <= self.fault_at + _ON_THE_WAY
            for test_id in [_test_id(receipt)]
            for recipient in receipt.recipients
            if (test_id, self.submissions[test_id].recipients.index(recipient.address)) not in recorded
        }


@contextlib.asynccontextmanager
async def trial(standing: Standing, seed: int) -> AsyncIterator[Trial]:
    """Receiver and name server for one seed; the receiver takes up to 0.2 s over its answer to the final dot."""
    chance = random.Random(-seed - 1)
    waits = tuple(ScriptedReply(wait=chance.uniform(0, 0.2)) for _ in range(2000))
    receiver = Receiver(Script(rules=(ScriptRule(ReceiverStage.END, "*", (*waits, FRIENDLY)),)))
    await receiver.start(RECEIVER_ADDRESS, standing.receiver_port)
    nameserver = NameServer(dict(_zone()))
    await nameserver.start(port=standing.dns_port)
    try:
        if standing.service.process is None or standing.service.process.poll() is not None:
            await asyncio.to_thread(standing.service.start)
        yield Trial(standing, seed, receiver)
    finally:
        await nameserver.stop()
        await receiver.stop()


def _zone() -> Iterator[tuple[str, Node]]:
    for n in range(DOMAINS):
        yield f"d{n}.example", Node(mx=((10, f"mx.d{n}.example"),))
        yield f"mx.d{n}.example", Node(a=(RECEIVER_ADDRESS,))


def _test_id(receipt: Receipt) -> str:
    found = _ID.search(receipt.content)
    assert found, receipt.content[:500]
    return found[1].decode()


async def _command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> str:
    if writer.is_closing():
        raise ConnectionResetError
    writer.write(line)
    return await _reply(reader)


async def _reply(reader: asyncio.StreamReader) -> str:
    """The last line of the next reply. Raises IncompleteReadError at the end of the connection."""
    while True:
        line = await reader.readuntil(b"\n")
        if line[3:4] != b"-":
            return line.decode().strip()
