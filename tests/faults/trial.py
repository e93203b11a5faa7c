"""Ledgers that must agree whatever is killed: what clients were told, what receivers took, what is recorded.

    LOST        told 250, and a recipient neither got it nor was suppressed   must be none
    TORN        the receiver's octets do not end with the client's            must be none
    PHANTOM     delivered, but not submitted, or to somebody else             must be none
    SUPPRESSED  delivered more than a second after its suppression            must be none
    TWICE       allowed only in the window: taken by the receiver before the fault, and not yet recorded as
                delivered at the fault

One service lives through all seeds; its receivers and name server are in the test's process and are never killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bench.service import Service, free_port, merged
from config.schema import DatabaseSettings
from mta.mail.address import Address
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from mta.testing.nameserver import DnsFault, NameServer, Node
from mta.testing.receiver import Receiver
from mta.testing.script import FRIENDLY, Receipt, ReceiverStage, Script, ScriptedReply, ScriptRule, say
from tests.faults.clients import DOMAINS, STOPPED, Clients
from tests.faults.figures import Figures, ledger_hash
from tests.warm_service import WarmService

WORKERS = 2
CONNECTIONS = 10  # to each domain, over all workers
LEASE = 5.0  # seconds
RECOVERY = 60.0  # seconds within which everything accepted must have been delivered
RECEIVER_ADDRESS = "127.0.0.2"
LOOK_EVERY = 0.2  # seconds
REPLACED = 30.0  # seconds within which a worker that was killed has a successor with a lease
EFFECTIVE = 1.0  # seconds after which a suppression holds in every worker

_ON_THE_WAY = 0.2  # seconds in which what was sent before the fault may still be read by the receiver
_ID = re.compile(rb"(?m)^X-Test-Id: (\S+)\r$")
_RECORDED_TWICE = """
select count(*) from (select from event where kind = 'delivered' group by message_id,
    recipient_index having count(*) > 1) as twice
"""
_WITHOUT_END = """
select count(*) from message, generate_series(0, recipients - 1) as one (recipient_index)
where not exists (select from event where event.message_id = message.id
    and event.recipient_index = one.recipient_index and kind in ('delivered', 'failed', 'dropped'))
"""
_RECORDED = """
select split_part(trim(leading '<' from record->'summary'->>'message-id'), '@', 1) as test_id, recipient_index
from event join message on message.id = message_id where kind = 'delivered' and at <= to_timestamp($1)
"""
_LEASES = "select id, renewals from worker"


def seeds() -> list[int]:
    """CRASH_SEEDS of them (1), or the one that CRASH_SEED names."""
    if one := os.environ.get("CRASH_SEED"):
        return [int(one)]
    return list(range(int(os.environ.get("CRASH_SEEDS", "1"))))


@dataclass(frozen=True, slots=True)
class Books:
    """What the service itself has recorded: ``delivered`` (test id, recipient index) up to a time, and how many
    workers have no lease."""

    delivered: set[tuple[str, int]]
    idle_workers: int


@dataclass
class Standing:
    """A service that outlives each trial: its directory and the ports its configuration names.

    ``database``: its database, if it does not run one itself.
    """

    service: Service
    receiver_port: int
    dns_port: int
    database: str | None = None

    @property
    def dsn(self) -> str:
        """The database, which must be running."""
        dsn = self.database or EmbeddedPostgres(self.service.data / "postgres").running()
        assert dsn, "the database is not running"
        return dsn

    @property
    def is_up(self) -> bool:
        return self.service.process is not None and self.service.process.poll() is None

    async def queued(self) -> list[Any]:
        """Some rows of the queue; a row that says so while the database is away."""
        try:
            database = await asyncpg.connect(self.dsn)
        except (AssertionError, OSError, asyncpg.PostgresError) as error:
            return [{"away": str(error)}]
        try:
            return [dict(row) for row in await database.fetch("select *, now() from queue limit 3")]
        finally:
            await database.close()

    async def suppress(self, addresses: Sequence[str]) -> bool:
        """Suppress, as the command line does. False: the system knows no suppressions."""
        secrets = Secrets.load_or_create(self.service.data / "secret")
        store = await Store.open(self.dsn, DatabaseSettings(), secrets)
        try:
            found = await store.accounts.find("shop")
            acts = [store.suppressions.act(found.account.id, Address.parse(address)) for address in addresses]
            await store.suppressions.apply(acts)
        finally:
            await store.close()
        return True

    async def books(self, until: float) -> Books:
        """Raises AssertionError if they are out of order."""
        database = await asyncpg.connect(self.dsn)
        try:
            await _until_no_content_is_left(database)
            assert await database.fetchval(_RECORDED_TWICE) == 0, "a delivery was recorded twice"
            assert await database.fetchval(_WITHOUT_END) == 0, "a recipient has no end"
            rows = await database.fetch(_RECORDED, until)
            idle = await _idle_workers(database)
        finally:
            await database.close()
        return Books({(row["test_id"], row["recipient_index"]) for row in rows}, idle)


async def _until_no_content_is_left(database: asyncpg.Connection) -> None:
    """What was moved while its outcome was written goes with the next turn of the ring, in about a second."""
    deadline = time.monotonic() + 10
    while kept := await database.fetchval("select count(*) from content_kept"):
        assert time.monotonic() < deadline, f"content of nobody is left: {kept} pieces"
        await asyncio.sleep(0.2)


def stand(directory: Path, environment: dict[str, str] | None = None, **settings: Any) -> Standing:
    """A new service with an account, running."""
    receiver_port, dns_port = free_port(RECEIVER_ADDRESS), free_port()
    service = WarmService(
        directory, merged(_settings(receiver_port, dns_port), settings), environment=environment or {}
    )
    service.configure()
    account = ("account", "add", "shop", "--domain", "sender.example", "--network", "127.0.0.0/8")
    service.cli(*account, "--approve", "a test", "--verified")
    service.start()
    return Standing(service, receiver_port, dns_port)


def _settings(receiver_port: int, dns_port: int) -> dict[str, Any]:
    return {
        "server": {"hostname": "mta.sender.example", "workers": WORKERS, "shutdown_grace": "10s"},
        "database": {"timeout": "2s", "lease": f"{LEASE:.0f}s"},
        "queue": {"retry_schedule": ["500ms"], "poll": "200ms"},
        "dns": {"servers": [f"127.0.0.1:{dns_port}"], "timeout": "2s"},
        "egress": {"ipv6": False},
        "testing": {"receiver_port": receiver_port, "loopback_receivers": True},
        "shaping": {"default": {"connections": CONNECTIONS, "backoff": "500ms", "tls": "none"}},
    }


@dataclass
class Trial:
    """One seed: the load, the fault, and what the ledgers say."""

    standing: Standing
    seed: int
    receiver: Receiver
    nameserver: NameServer
    zone: dict[str, Node | DnsFault]
    friendly: Script
    fault: str = ""
    fault_at: float = 0.0
    ended_at: float = 0.0
    suppressed: dict[str, float] = field(default_factory=dict)  # address -> when

    def __post_init__(self) -> None:
        self.clients = Clients(self.standing.service.port, self.seed)
        self.random = self.clients.random

    def ended(self) -> None:
        """The load has ended."""
        self.ended_at = time.monotonic()

    async def moment(self, least: float = 0.2, most: float = 1.5) -> None:
        """Let the load run for a time that the seed chooses."""
        await asyncio.sleep(self.random.uniform(least, most))

    def struck(self) -> None:
        """The fault has happened."""
        self.fault_at = time.time()

    async def suppress(self) -> None:
        """Suppress some recipients whose mail is waiting now."""
        waiting = [to for one in self.clients.submissions.values() for to in one.recipients if to.startswith(STOPPED)]
        if await self.standing.suppress(waiting):
            self.suppressed |= dict.fromkeys(waiting, time.time())

    async def settle(self) -> None:
        """Wait until the queue is empty. Raises AssertionError with what is left of it after RECOVERY."""
        deadline = time.monotonic() + RECOVERY
        while queued := await self.standing.queued():
            if time.monotonic() > deadline:
                raise AssertionError(f"left in the queue: {queued}\n{self.standing.service.output()}")
            await asyncio.sleep(0.1)

    def copies(self) -> Counter[tuple[str, str]]:
        """How often each recipient of each message was delivered to."""
        return Counter(
            (_test_id(receipt), recipient.address)
            for receipt in self.receiver.ledger.accepted
            for recipient in receipt.recipients
        )

    async def judge(self, in_flight: int = 0) -> Figures:
        """Compare the ledgers. Raises AssertionError if the database's own books are out of order.

        ``in_flight``: transactions that went on after the fault as if nothing had happened, at most.
        """
        recovery = time.monotonic() - self.ended_at
        books = await self.standing.books(self.fault_at)
        window = self._window(books.delivered)
        copies, known, accepted = self.copies(), self.clients.submissions, self.clients.accepted
        assert accepted, "nothing was accepted: this trial shows nothing"
        wanted = [(key, to) for key, one in accepted.items() for to in one.recipients]
        twice = {pair for pair, count in copies.items() if count > 1}
        taken = [receipt for receipt in self.receiver.ledger.accepted if _test_id(receipt) in known]
        return Figures(
            fault=self.fault,
            seed=self.seed,
            accepted=len(accepted),
            unknown=sum(one.reply == "" for one in known.values()),
            recipients=len(wanted),
            delivered=copies.total(),
            ambiguous=len(window),
            twice=len(twice),
            unexplained_twice=len(twice - window),
            more_than_twice=sum(count > 2 for count in copies.values()),
            lost=sum(pair not in copies and pair[1] not in self.suppressed for pair in wanted),
            torn=sum(not one.content.endswith(known[_test_id(one)].content) for one in taken),
            phantom=sum(key not in known or to not in known[key].recipients for key, to in copies),
            suppressed=len(self.suppressed),
            suppressed_sent=sum(
                receipt.at > self.suppressed[address] + EFFECTIVE
                for receipt in taken
                for address in receipt.addresses
                if address in self.suppressed
            ),
            idle_workers=books.idle_workers,
            recovery=round(recovery, 2),
            ledger=ledger_hash({key: one.content for key, one in accepted.items()}, copies),
            in_flight=in_flight,
        )

    def _window(self, recorded: set[tuple[str, int]]) -> set[tuple[str, str]]:
        """The recipients whose copy the receiver had before the fault, and that were not recorded as delivered."""
        return {
            (test_id, recipient.address)
            for receipt in self.receiver.ledger.accepted
            if receipt.at <= self.fault_at + _ON_THE_WAY
            for test_id in [_test_id(receipt)]
            if test_id in self.clients.submissions
            for recipient in receipt.recipients
            if recipient.address in self.clients.submissions[test_id].recipients
            and (test_id, self.clients.submissions[test_id].recipients.index(recipient.address)) not in recorded
        }


@contextlib.asynccontextmanager
async def trial(standing: Standing, seed: int, fault: str = "") -> AsyncIterator[Trial]:
    """Receiver and name server for one seed; the receiver takes up to 0.2 s over its answer to the final dot."""
    chance = random.Random(-seed - 1)
    waits = tuple(ScriptedReply(wait=chance.uniform(0, 0.2)) for _ in range(2000))
    later = (*[say("450 4.2.1 mailbox busy")] * 4, FRIENDLY)
    friendly = Script(
        rules=(
            ScriptRule(ReceiverStage.RCPT, f"{STOPPED}*", later),
            ScriptRule(ReceiverStage.END, "*", (*waits, FRIENDLY)),
        )
    )
    receiver, zone = Receiver(friendly), dict(_zone())
    await receiver.start(RECEIVER_ADDRESS, standing.receiver_port)
    nameserver = NameServer(zone)
    await nameserver.start(port=standing.dns_port)
    try:
        if not standing.is_up:
            await asyncio.to_thread(standing.service.start)
        yield Trial(standing, seed, receiver, nameserver, zone, friendly, fault)
    finally:
        await nameserver.stop()
        await receiver.stop()


async def _idle_workers(database: asyncpg.Connection) -> int:
    """How many workers renew no lease, once those that were killed had time to be replaced."""
    before: dict[int, int] = {}
    renewing: set[int] = set()
    for _ in range(int(REPLACED / LOOK_EVERY)):
        for row in await database.fetch(_LEASES):
            if row["renewals"] > before.setdefault(row["id"], row["renewals"]):
                renewing.add(row["id"])
        if len(renewing) >= WORKERS:
            return 0
        await asyncio.sleep(LOOK_EVERY)
    return WORKERS - len(renewing)


def _zone() -> Iterator[tuple[str, Node]]:
    for n in range(DOMAINS):
        yield f"d{n}.example", Node(mx=((10, f"mx.d{n}.example"),))
        yield f"mx.d{n}.example", Node(a=(RECEIVER_ADDRESS,))


def _test_id(receipt: Receipt) -> str:
    found = _ID.search(receipt.content)
    assert found, receipt.content[:500]
    return found[1].decode()
