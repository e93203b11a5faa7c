"""The queue for operators: count, list, retry, hold, release, bounce.

A change to a recipient that a worker holds in memory is made in the database at once; all workers are notified (channel
``queue``) to give back deliveries they have not started, and see the change when they claim them again.

Invariants: no recipient disappears: a bounce asks a worker to fail it, with its event and its DSN.

Limitations: a delivery on the wire is not stopped. A change of a million rows is one transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson

from mta.mail.delivery import DelayReason
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId, first_id_at
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.postgres.database import Connection, Database, row_count
from mta.store.queue import holds
from mta.store.queue.holds import HoldScope, QueueChange

COUNTED = 50_000  # rows counted one by one for the gauges
SECONDS = 300.0  # for one question or change over the whole queue
RELEASABLE = (HoldSource.OPERATOR, HoldSource.REVIEW)  # the others end with what they stand for

_IS_DELAYED = "q.lease is null and q.holds = 0 and q.delayed_by is not null and q.due_at > now()"

_STATE = f"""
case
    when q.lease is not null then 'leased' when q.holds > 0 then 'held' when {_IS_DELAYED} then 'delayed' else 'ready'
end"""

_MAILING = "(coalesce(q.mailing, '') = ${0} or q.mailing in (select id from mailing where name = ${0}))"

_SENDER = "lower(${}) = (select lower(coalesce(sender, '<>')) from message where id = q.message_id)"

_HELD_BY = """
q.holds > 0 and exists (
    select from hold one where one.message_id = q.message_id and one.recipient_index = q.recipient_index
        and one.source = (${}::text)::hold_source
)"""

_COLUMNS = f"""
q.message_id, q.recipient_index, q.account_id, a.name as account, q.stream::text as stream, q.topic, q.mailing,
m.sender, q.address, q.destination, {_STATE} as state, {holds.AS_JSON} as holds, q.bounce, q.attempts,
m.received_at, q.due_at, q.expires_at, q.last_reply, q.waits_for,
q.delayed_by::text as delayed_by, q.priority, w.host, w.pid"""

_FROM = """
from queue q
join message m on m.id = q.message_id
left join account a on a.id = q.account_id
left join worker w on w.id = q.lease"""

# The first rows of the primary key are the oldest messages. What waits for a time is as old as its sender wished.
_OLDEST = """
select extract(epoch from now() - m.received_at)::float8
from queue q join message m on m.id = q.message_id
where q.expires_at > now() and q.delayed_by is null order by q.message_id limit 1"""

# The first row of each stream's index of due rows.
_LATE = """
select coalesce(extract(epoch from now() - min(due_at)), 0)::float8 from (
    (select due_at from queue where stream = 'transactional' and lease is null and holds = 0 order by due_at limit 1)
    union all
    (select due_at from queue where stream = 'marketing' and lease is null and holds = 0 order by due_at limit 1)
) first"""

_COUNT = f"""
select
    (select count(*) from (select from queue where lease is null and holds = 0 limit $1) one) as ready,
    (select count(*) from (select from queue where lease is null and holds > 0 limit $1) one) as held,
    (select count(*) from (select from queue q where {_IS_DELAYED} limit $1) one) as delayed,
    (select count(*) from (select from queue where lease is not null limit $1) one) as leased,
    (select reltuples::bigint from pg_class where oid = 'queue'::regclass) as rows"""  # noqa: S608


class By(Enum):
    """What a summary is grouped by."""

    DESTINATION = "destination"
    ACCOUNT = "account"
    STREAM = "stream"
    MAILING = "mailing"
    STATE = "state"


_GROUPS = {
    By.DESTINATION: "q.destination",
    By.ACCOUNT: "coalesce((select name from account where id = q.account_id), q.account_id::text)",
    By.STREAM: "q.stream::text",
    By.MAILING: "coalesce((select name || ' ' || id from mailing where id = q.mailing), q.mailing, '')",
    By.STATE: _STATE,
}


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which recipients are meant: those that fit everything given. ``messages``: only theirs, if there are any.
    ``mailing``: its id or its account's name for it; "" for none. ``reply``: part of the last reply.

    ``sender`` is ``<>`` for messages without one; ``before``: those accepted before that moment. ``held_by``: those
    with a hold of this source, perhaps among others.
    """

    messages: tuple[MessageId, ...] = ()
    account_id: int | None = None
    destination: str | None = None
    stream: Stream | None = None
    topic: str | None = None
    mailing: str | None = None
    address: str | None = None
    state: QueueState | None = None
    reply: str | None = None
    sender: str | None = None
    before: datetime | None = None
    held_by: HoldSource | None = None

    @property
    def is_everything(self) -> bool:
        return self == QueueFilter()

    def where(self) -> tuple[str, list[Any]]:
        """The condition on ``q``, with placeholders from ``$1`` on, and their values."""
        given = [
            ("q.message_id = any(${}::uuid[])", self.messages or None),
            ("q.account_id = ${}", self.account_id),
            ("q.destination = ${}", self.destination),
            ("q.stream = (${}::text)::stream", self.stream.value if self.stream else None),
            ("q.topic = ${}", self.topic),
            (_MAILING, self.mailing),
            ("lower(q.address) = lower(${})", self.address),
            (_STATE + " = ${}", self.state.value if self.state else None),
            ("position(lower(${}) in lower(q.last_reply)) > 0", self.reply),
            (_SENDER, self.sender),
            ("q.message_id < ${}", first_id_at(self.before) if self.before else None),
            (_HELD_BY, self.held_by.value if self.held_by else None),
        ]
        used = [(condition, value) for condition, value in given if value is not None]
        conditions = [condition.format(place) for place, (condition, _) in enumerate(used, start=1)]
        return " and ".join(conditions) or "true", [value for _, value in used]

    @property
    def scope(self) -> HoldScope:
        condition, values = self.where()
        return HoldScope(condition, condition, tuple(values), self.messages)


@dataclass(frozen=True, slots=True)
class Group:
    """One line of a summary. ``due``: ready and due now. ``oldest``: when the oldest message was received."""

    key: str
    recipients: int
    due: int
    leased: int
    held: int
    attempted: int
    oldest: datetime
    next_due: datetime | None


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One queued recipient. ``worker``: host and process id of the one that holds it."""

    message_id: MessageId
    recipient_index: int
    account_id: int
    account: str | None
    stream: Stream
    topic: str | None
    mailing: str | None
    sender: str | None
    address: str
    destination: str
    state: QueueState
    holds: tuple[Hold, ...]
    bounce: str | None
    attempts: int
    queued_at: datetime
    due_at: datetime
    expires_at: datetime
    last_reply: str | None
    worker: tuple[str, int] | None
    waits_for: int | None
    delayed_by: DelayReason | None
    priority: int


class Queue:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # questions

    async def count_states(self) -> dict[str, int]:
        """Recipients by ``QueueState`` value; those ready exactly up to COUNTED, beyond that as PostgreSQL estimates.

        Cheap however long the queue is: it is asked every few seconds. Raises StoreUnavailable.
        """
        async with self._database.session() as connection:
            row = await connection.fetchrow(_COUNT, COUNTED)
        assert row is not None
        ready = row["ready"] if row["ready"] < COUNTED else max(COUNTED, row["rows"] - row["held"] - row["leased"])
        others = {state: row[state] for state in ("delayed", "held", "leased")}
        return {"ready": max(0, ready - row["delayed"]), **others}

    async def oldest_unexpired_age(self) -> float:
        """Seconds since the oldest message that is not expired was received; 0 if there is none."""
        async with self._database.session() as connection:
            return await connection.fetchval(_OLDEST) or 0.0

    async def late(self) -> float:
        """Seconds for which the first due recipient has waited to be claimed; 0 if none is due."""
        async with self._database.session() as connection:
            late: float = await connection.fetchval(_LATE)
        return max(0.0, late)

    async def summary(self, by: By, which: QueueFilter | None = None, limit: int | None = None) -> Sequence[Group]:
        """Counts by destination, account, stream, mailing or state, the largest first. Raises StoreUnavailable."""
        condition, values = (which or QueueFilter()).where()
        rows = await self._ask(
            f"""
            with counted as (
                select
                    {_GROUPS[by]} as key,
                    count(*) as recipients,
                    count(*) filter (where lease is null and holds = 0 and due_at <= now()) as due,
                    count(lease) as leased,
                    count(*) filter (where lease is null and holds > 0) as held,
                    count(*) filter (where attempts > 0) as attempted,
                    min(message_id::text collate "C")::uuid as first,
                    min(due_at) filter (where lease is null and holds = 0) as next_due
                from queue q where {condition} group by 1
            )
            select c.*, m.received_at from counted c join message m on m.id = c.first
            order by recipients desc, key limit ${len(values) + 1}""",  # noqa: S608 - our own text, values as parameters
            *values,
            limit,
        )
        return [
            Group(
                row["key"], row["recipients"], row["due"], row["leased"], row["held"], row["attempted"],
                row["received_at"], row["next_due"],
            )
            for row in rows
        ]  # fmt: skip

    async def destinations(self, which: QueueFilter, limit: int) -> Sequence[str]:
        """Domains of what waits for its next attempt. Raises StoreUnavailable."""
        condition, values = which.where()
        waiting = f"q.lease is null and q.holds = 0 and {condition}"
        question = f"select distinct q.destination from queue q where {waiting} limit ${len(values) + 1}"  # noqa: S608
        rows = await self._ask(question, *values, limit)
        return [row["destination"] for row in rows]

    async def list(
        self, which: QueueFilter, *, after: tuple[MessageId, int] | None = None, limit: int | None = None
    ) -> Sequence[QueueEntry]:
        """Return queued recipients, the oldest message first. ``after``: the last one of the page before.

        Raises StoreUnavailable.
        """
        condition, values = which.where()
        if after is not None:
            condition += f" and (q.message_id, q.recipient_index) > (${len(values) + 1}, ${len(values) + 2})"
            values += [*after]
        rows = await self._ask(
            f"select {_COLUMNS} {_FROM} where {condition}"
            f" order by q.message_id, q.recipient_index limit ${len(values) + 1}",
            *values,
            limit,
        )
        return [_queued(row) for row in rows]

    async def show(self, message_id: MessageId) -> Sequence[QueueEntry]:
        """What is still queued of a message. Raises StoreUnavailable."""
        return await self.list(QueueFilter(messages=(message_id,)))

    async def _ask(self, question: str, *values: Any) -> Sequence[Any]:
        """A question over many rows: planned for its values, unlike our short statements."""
        async with self._database.session(SECONDS) as connection, connection.transaction(readonly=True):
            await holds.plan_for_many(connection)
            return await connection.fetch(question, *values)

    # changes; with ``dry_run`` they only count

    async def retry(self, which: QueueFilter, *, dry_run: bool = False) -> QueueChange:
        """Make what waits for its next attempt due now; what waits for a time (its release, its send window) only if
        its message is named. Raises StoreUnavailable."""
        condition, values = which.where()
        waiting = f"q.lease is null and q.holds = 0 and {condition}"
        if not which.messages:
            waiting += f" and not ({_IS_DELAYED})"
        statement = f"update queue q set due_at = least(now(), q.expires_at) where {waiting}"  # noqa: S608
        if dry_run:
            statement = f"select count(*) from queue q where {waiting}"  # noqa: S608

        async def work(connection: Connection) -> QueueChange:
            await holds.plan_for_many(connection)
            if dry_run:
                return QueueChange(await connection.fetchval(statement, *values))
            status: str = await connection.execute(statement, *values)
            return QueueChange(row_count(status))

        return await self._database.retried(work, seconds=SECONDS)

    async def put_off(self, which: QueueFilter, until: datetime, *, dry_run: bool = False) -> QueueChange:
        """Let what waits for its next attempt have it at ``until``, or when it expires. Raises StoreUnavailable."""
        condition, values = which.where()
        meant = f"q.holds = 0 and {condition}"
        count = f"select count(*) filter (where lease is null), count(lease) from queue q where {meant}"  # noqa: S608
        change = f"""
update queue q set due_at = least(${len(values) + 1}, q.expires_at), waits_for = null, delayed_by = null
where q.lease is null and {meant}"""  # noqa: S608 - our own text

        async def work(connection: Connection) -> QueueChange:
            await holds.plan_for_many(connection)
            row = await connection.fetchrow(count, *values)
            assert row is not None
            if not dry_run:
                await connection.execute(change, *values, until)
            return QueueChange(*row)

        return await self._database.retried(work, seconds=SECONDS)

    async def hold(self, which: QueueFilter, reason: str, *, dry_run: bool = False) -> QueueChange:
        """Hold recipients until an operator releases them, or they expire. Raises StoreUnavailable."""
        hold = Hold(HoldSource.OPERATOR, "", reason)
        return await self._change(lambda connection: holds.hold(connection, which.scope, hold, dry_run=dry_run))

    async def release(self, which: QueueFilter, reason: str = "", *, dry_run: bool = False) -> QueueChange:
        """End the holds that are an operator's to end, or those of ``which.held_by``. Raises StoreUnavailable."""
        sources = (which.held_by,) if which.held_by else RELEASABLE
        return await self._change(
            lambda connection: holds.release(connection, which.scope, sources, reason, dry_run=dry_run)
        )

    async def bounce(self, which: QueueFilter, reason: str, *, dry_run: bool = False) -> QueueChange:
        """Have workers fail recipients now, with DSNs to the senders. Raises StoreUnavailable."""
        return await self._change(lambda connection: holds.bounce(connection, which.scope, reason, dry_run=dry_run))

    async def _change(self, change: Callable[[Connection], Awaitable[QueueChange]]) -> QueueChange:
        async def work(connection: Connection) -> QueueChange:
            await holds.plan_for_many(connection)
            return await change(connection)

        return await self._database.retried(work, seconds=SECONDS)


def _holds(found: str | None) -> tuple[Hold, ...]:
    return tuple(Hold(HoldSource(one["source"]), one["ref"], one["text"]) for one in orjson.loads(found or "[]"))


def _queued(row: Any) -> QueueEntry:
    return QueueEntry(
        message_id=row["message_id"],
        recipient_index=row["recipient_index"],
        account_id=row["account_id"],
        account=row["account"],
        stream=Stream(row["stream"]),
        topic=row["topic"],
        mailing=row["mailing"],
        sender=row["sender"],
        address=row["address"],
        destination=row["destination"],
        state=QueueState(row["state"]),
        holds=_holds(row["holds"]),
        bounce=row["bounce"],
        attempts=row["attempts"],
        queued_at=row["received_at"],
        due_at=row["due_at"],
        expires_at=row["expires_at"],
        last_reply=row["last_reply"],
        worker=(row["host"], row["pid"]) if row["host"] is not None else None,
        waits_for=row["waits_for"],
        delayed_by=DelayReason(row["delayed_by"]) if row["delayed_by"] else None,
        priority=row["priority"],
    )
