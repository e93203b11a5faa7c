"""Screened messages: rejections as they are recorded, and the newest messages, accepted and rejected.

A rejection is recorded with the findings of every rule, to explain it later. A changed profile can be tried on the
newest messages before it is loaded. No caller waits: a rejection is kept in memory and written soon.

Invariants: a client is never delayed, and the content of a rejected message is never kept.

Limitations: reaches back as far as ``retention.messages`` and ``retention.rejections``. The content of an accepted
message exists only while part of it is queued. While the database is unavailable up to MOST rejections are kept; more,
or a crash, loses them. The event log still has them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.mail.reply import Reply
from mta.observe.labels import BackgroundTask
from mta.store.journal.record_details import record_of
from mta.store.postgres.database import Database
from mta.store.postgres.errors import StoreUnavailable
from policy.base import Finding

MOST = 10_000  # noted and not yet written
CHUNK = 200  # written in one statement
STOPPING = 2.0  # seconds for what is still to be written

_WRITE = """
insert into rejection (id, account_id, received_at, record)
select * from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::jsonb[])
on conflict do nothing"""

_READ = "select id, account_id, received_at, record from rejection where id = $1"

_LAST_REJECTED = """
select id, account_id, received_at, record from rejection
where $1::bigint is null or account_id = $1 order by id desc limit $2"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """``record``: as for a message (envelope, recipients, origin, summary, findings), with the ``reply``, ``stream``,
    ``mailing``, ``topic`` and ``profile`` it was judged by."""

    id: MessageId
    account_id: int
    received_at: datetime
    record: dict[str, Any]


class Rejections:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: deque[tuple[MessageId, int, datetime, str]] = deque(maxlen=MOST)
        self._writing: asyncio.Task[None] | None = None

    def note(self, message_id: MessageId, account_id: int, at: datetime, reply: Reply, record: dict[str, Any]) -> None:
        """Keep a rejection. Returns at once."""
        self._noted.append((message_id, account_id, at, orjson.dumps(record | {"reply": str(reply)}).decode()))
        if self._writing is None or self._writing.done():
            self._writing = self._database.tasks.start(BackgroundTask.REJECTIONS, self._write)

    async def find(self, message_id: MessageId) -> Rejection | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_READ, message_id)
        return _refused(row) if row else None

    async def last(self, count: int, account_id: int | None = None) -> list[Rejection]:
        """The newest, of one account or of all. Raises StoreUnavailable."""
        async with self._database.session(60) as connection:
            rows = await connection.fetch(_LAST_REJECTED, account_id, count)
        return [_refused(row) for row in rows]

    async def drain(self) -> None:
        """Wait until what is noted is written."""
        if self._writing:
            await self._writing

    async def stop(self) -> None:
        """Write what can be written within a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                await self.drain()

    async def _write(self) -> None:
        while self._noted:
            chunk = [self._noted.popleft() for _ in range(min(CHUNK, len(self._noted)))]
            try:
                async with self._database.session() as connection:
                    await connection.execute(_WRITE, *zip(*chunk, strict=True))
            except StoreUnavailable:
                self._noted.extendleft(reversed(chunk))
                raise


def _refused(row: Any) -> Rejection:
    return Rejection(row["id"], row["account_id"], row["received_at"], orjson.loads(row["record"]))


LONG = 60.0  # seconds for one look

_LAST = """
(
    select m.id, m.account_id, m.sender, m.received_at, m.record, m.details, false as refused,
        exists (select from queue q where q.message_id = m.id) as queued
    from message m where $1::bigint is null or m.account_id = $1 order by m.id desc limit $2
)
union all
(
    select r.id, r.account_id, r.record ->> 'sender', r.received_at, r.record, null, true, false
    from rejection r where $1::bigint is null or r.account_id = $1 order by r.id desc limit $2
)
order by id desc limit $2"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One message's record. ``reply``: our answer, if it was refused. ``profile``: by which it was judged, "" if that
    was not recorded; ``digest`` what that said then. ``queued``: whether its content is still here."""

    message_id: MessageId
    account_id: int
    received_at: datetime
    sender: str | None
    recipients: tuple[str, ...]
    findings: tuple[Finding, ...]
    stream: str | None
    mailing: str | None
    topic: str | None
    profile: str
    digest: str
    reply: str | None
    queued: bool


class ScreeningHistory:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, count: int, account_id: int | None = None) -> list[Judgement]:
        """The newest ``count``, of one account or of all, newest first. Raises StoreUnavailable."""
        async with self._database.session(LONG) as connection:
            rows = await connection.fetch(_LAST, account_id, count)
        return [_judgement(row) for row in rows]


def _judgement(row: Any) -> Judgement:
    record = record_of(row)
    profile, _, digest = (record.get("profile") or "").partition(" ")
    return Judgement(
        message_id=row["id"],
        account_id=row["account_id"],
        received_at=row["received_at"],
        sender=row["sender"],
        recipients=tuple(record["recipients"]),
        findings=tuple(Finding(*finding) for finding in record["findings"]),
        stream=record.get("stream"),
        mailing=record.get("mailing"),
        topic=record.get("topic"),
        profile=profile,
        digest=digest,
        reply=record.get("reply"),
        queued=row["queued"],
    )
