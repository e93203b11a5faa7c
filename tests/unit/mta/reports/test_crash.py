"""A crash between any two statements of a report leaves the same state and the same counts as none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import orjson
import pytest

from bounce.suppression import SoftBounceThresholds, Threshold
from mta.mail.address import Address
from mta.mail.identity import format_id, new_message_id
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind, UnsubscribeMethod
from mta.observe.metrics import Metrics
from mta.store.journal import record_details
from mta.store.permission.ledger import Given
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence
from policy.permission.tokens import COMPLAINT, UNSUBSCRIBE, Claim
from policy.reputation.complaint import Complaint, Source
from tests.inbound_mail import bounce, complaint, letter, vacation
from tests.unit.mta.reports import rig
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
ABUSE, FBL = f"abuse@{rig.DOMAIN}", f"fbl@{rig.DOMAIN}"
MESSAGE = new_message_id()
YESTERDAY = datetime.now(UTC) - timedelta(days=1)
MAILING = format_id(new_message_id())
PATH = str(rig.VERP.make(MESSAGE, 0))
NAMES = rig.Names("feedback.example", "shop.example")
ONE_IS_TOO_MANY = SoftBounceThresholds({"mailbox_full": Threshold(1, timedelta(days=30), 1)}, timedelta(days=180))


@dataclass(frozen=True)
class Inbound:
    """A report. ``signer``: whose signature it bears."""

    content: Callable[[Store], bytes]
    to: tuple[str, ...]
    counts: dict[InboundReportKind, int]
    signer: str | None = None


def token(store: Store, purpose: str) -> str:
    return rig.TOKENS.make(Claim(purpose, 1, store.suppressions.key(ANN), MAILING, "offers"))


def returned(store: Store) -> bytes:
    """The header of the message, as feedback loops return it."""
    link = f"<mailto:unsubscribe@{rig.DOMAIN}?subject={token(store, UNSUBSCRIBE)}>"
    return (
        f"Received: by mta.example with ESMTP id {format_id(MESSAGE)}; Mon, 3 Mar 2025 09:31:00 +0000\r\n"
        f"Subject: Offers\r\nCFBL-Feedback-ID: {token(store, COMPLAINT)}\r\nList-Unsubscribe: {link}\r\n"
    ).encode()


KIND = InboundReportKind
REPORTS = {
    "hard bounce": Inbound(lambda _: bounce(PATH, str(ANN)), (PATH,), {KIND.BOUNCE: 1}),
    "soft bounce": Inbound(lambda _: bounce(PATH, str(ANN), said="552 5.2.2 mailbox full"), (PATH,), {KIND.BOUNCE: 1}),
    "auto-reply": Inbound(lambda _: vacation(PATH), (PATH,), {KIND.AUTO_REPLY: 1}),
    "complaint": Inbound(
        lambda store: complaint(returned(store)), (FBL,), {KIND.COMPLAINT: 1}, signer="feedback.example"
    ),
    "unsubscribe": Inbound(
        lambda store: letter(f"unsubscribe@{rig.DOMAIN}", token(store, UNSUBSCRIBE)),
        (f"unsubscribe@{rig.DOMAIN}",),
        {KIND.UNSUBSCRIBE: 1},
    ),
    "abuse mail with a case": Inbound(
        lambda _: letter(ABUSE, "spam", f"I never subscribed. Mailing-ID: {MAILING}"),
        (ABUSE,),
        {KIND.COMPLAINT: 1, KIND.ABUSE_MAIL: 1},
    ),
    "abuse mail without a case": Inbound(lambda _: letter(ABUSE, "hello"), (ABUSE,), {KIND.ABUSE_MAIL: 1}),
    "case reply": Inbound(
        lambda _: letter(ABUSE, "Re: [C-1] Complaint", "The form was wrong.", author="Bob <bob@shop.example>"),
        (ABUSE,),
        {KIND.ABUSE_MAIL: 1},
        signer="shop.example",
    ),
    "one mail to many": Inbound(
        lambda _: bounce(PATH, str(ANN)),
        (PATH, ABUSE, PATH.upper(), str(rig.VERP.make(new_message_id(), 0))),
        {KIND.BOUNCE: 1, KIND.AUTO_REPLY: 1, KIND.DUPLICATE: 1, KIND.UNMATCHED: 1},
    ),
}


class Faults:
    """Breaks the connection at one statement of the task that armed it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._left = 0
        self.after_commit = self.struck = False
        execute, run = asyncpg.Connection.execute, asyncpg.Connection._execute

        async def simple(connection: Any, query: str, *args: Any, **more: Any) -> Any:
            if args:
                return await execute(connection, query, *args, **more)
            return await self._run(connection, query, lambda: execute(connection, query, **more))

        async def prepared(connection: Any, query: str, *args: Any, **more: Any) -> Any:
            return await self._run(connection, query, lambda: run(connection, query, *args, **more))

        monkeypatch.setattr(asyncpg.Connection, "execute", simple)
        monkeypatch.setattr(asyncpg.Connection, "_execute", prepared)

    def arm(self, statement: int) -> None:
        """Break the connection before this statement, counted from 1."""
        self._task, self._left, self.struck, self.after_commit = asyncio.current_task(), statement, False, False

    def arm_commit(self) -> None:
        """Break the connection when the commit is done, before its acknowledgement."""
        self._task, self._left, self.struck, self.after_commit = asyncio.current_task(), 0, False, True

    def disarm(self) -> None:
        self._task = None

    async def _run(self, connection: Any, query: str, statement: Callable[[], Awaitable[Any]]) -> Any:
        if self._task is None or asyncio.current_task() is not self._task:
            return await statement()
        if self.after_commit and query.startswith("COMMIT"):
            await statement()
            self._strike(connection)
        self._left -= 1
        if self._left == 0:
            self._strike(connection)
        return await statement()

    def _strike(self, connection: Any) -> None:
        self.struck = True
        self.disarm()
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


class Trial:
    """One report, from an empty database on."""

    def __init__(self, store: Store, content: bytes, to: tuple[str, ...], faults: Faults) -> None:
        self.store, self.content, self.to, self.faults = store, content, to, faults
        self.metrics = Metrics()
        self.processor = rig.processor(store, NAMES, self.metrics)

    async def prepare(self) -> None:
        """An account with a message out and one waiting, a consent, a case and a webhook."""
        store = self.store
        await store.lease.renew()  # all trials together may last longer than a lease
        empty = "; ".join(f"delete from {table}" for table in await tables(store))  # much faster than truncate
        await make.execute(store, f"set session_replication_role = replica; {empty}; reset session_replication_role")
        await make.execute(store, "select setval(oid::regclass, 1, false) from pg_class where relkind = 'S'")
        await store.accounts.list()
        account = await store.accounts.add("shop", domains=["shop.example"], status=AccountStatus.ACTIVE, verified=True)
        assert account.id == 1
        await make.execute(
            store, "insert into webhook (account_id, url, sealed) values (1, 'https://shop.example', '')"
        )
        await make.execute(
            store,
            "insert into mailing (id, account_id, name, topic, list) values ($1, 1, 'spring', 'offers', 'all')",
            MAILING,
        )
        given = Given(ANN, ("offers",), Basis.DOUBLE_OPT_IN, YESTERDAY, YESTERDAY, Evidence())
        await store.consents.record(1, [given], by="test")
        sent = make.accepted(
            str(ANN), mailing=MAILING, topic="offers", stream=Stream.MARKETING, sender="news@shop.example"
        )
        sent = replace(sent, message=replace(sent.message, id=MESSAGE))
        await store.lease.renew()  # many trials on a busy machine take longer than it lasts
        (delivery,) = make.leased(await store.messages.enqueue(sent, leased=True))
        await make.write(store, make.result(delivery, provider="example.net"))
        waiting = make.accepted(str(ANN), mailing=MAILING, topic="offers", stream=Stream.MARKETING)
        await store.messages.enqueue(waiting, leased=False)
        await store.cases.open(Complaint(1, Source.PROVIDER, "too much mail"))
        await make.execute(store, "update complaint_case set state = 'sent', due_at = now() + interval '1 hour'")

    async def run(self, arm: Callable[[], None]) -> None:
        """Process the report as the worker does: again if the database was away. ``arm`` sets the fault."""
        report = await rig.arrive(self.store, self.content, *self.to)
        self.faults.struck = False
        arm()
        while True:
            try:
                await self.processor.handle(report)
            except StoreUnavailable:
                pass
            self.faults.disarm()
            await make.execute(self.store, "update inbound_report set due_at = now()")
            claimed = await self.store.report_queue.claim(10)
            if not claimed:
                return
            (report,) = claimed

    def counts(self) -> dict[Any, float]:
        """Of reports and unsubscriptions."""
        found: dict[Any, float] = {kind: self.metrics.inbound_reports[kind].value for kind in InboundReportKind}
        found |= {way: self.metrics.unsubscribes[way].value for way in UnsubscribeMethod}
        return {label: value for label, value in found.items() if value}

    async def state(self) -> dict[str, list[str]]:
        """Every row of every table, without what differs between two runs: times, random ids, numbers of rows."""
        found: dict[str, list[str]] = {}
        async with self.store._database.session() as connection:
            for table in await tables(self.store):
                rows = await connection.fetch(f"select to_jsonb(t) as row from {table} t")
                found[table] = sorted(_comparable(orjson.loads(row["row"])) for row in rows)
        return found


async def tables(store: Store) -> list[str]:
    """All that reports could change."""
    found = await make.row(
        store,
        "select array_agg(relname::text order by relname) as names from pg_class where relkind = 'r'"
        " and relnamespace = 'public'::regnamespace and relname not in ('schema_migration', 'worker', 'content_ring')",
    )
    names: list[str] = found["names"]
    return names


_HASHES = {"id", "case_id", "hash", "digest", "token", "remaining"}
_CHANGING = re.compile(
    r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:[+-][\d:]+|Z)?"  # times
    r"|[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} [\d:]{8} [+-]\d{4}"
    r"|\b[0-9a-f]{64}\b|\"salt\": ?\"[^\"]*\""
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-7][0-9a-hjkmnp-tv-z]{25}\b|\bC-\d+"  # ids
)


def _comparable(row: dict[str, Any]) -> str:
    if "details" in row:
        row = row | {"details": record_details.unpack(bytes.fromhex(row["details"][2:]))}
    kept = {
        name: bytes.fromhex(value[2:]).decode("latin-1") if isinstance(value, str) and value[:2] == "\\x" else value
        for name, value in row.items()
        if name not in _HASHES
    }
    return _CHANGING.sub("~", repr(kept))


@pytest.mark.parametrize("name", REPORTS)
async def test_a_crash_between_any_two_statements(name: str, store: Store, faults: Faults) -> None:
    store.configure(ONE_IS_TOO_MANY)
    inbound = REPORTS[name]
    content = inbound.content(store)
    if inbound.signer:
        content = NAMES.sign(content, inbound.signer)

    async def trial(arm: Callable[[], None]) -> tuple[dict[str, list[str]], dict[Any, float], bool]:
        one = Trial(store, content, inbound.to, faults)
        await one.prepare()
        await one.run(arm)
        assert await make.count(store, "inbound_report") == 0
        return await one.state(), one.counts(), faults.struck

    state, counts, _ = await trial(lambda: None)
    assert {label: value for label, value in counts.items() if isinstance(label, InboundReportKind)} == inbound.counts
    statement, struck = 0, True
    while struck:
        statement += 1
        found, counted, struck = await trial(partial(faults.arm, statement))
        assert found == state, f"statement {statement}"
        assert counted == counts, f"statement {statement}"
    assert statement > 4
    found, _, struck = await trial(faults.arm_commit)
    assert struck
    assert found == state
