"""Write the outcomes of delivery attempts: rows leave the queue or wait for their next attempt, with their events.

Everything that follows from an attempt is one transaction: outcomes, events, the DSN to the sender, suppressions, the
removal of queued copies to suppressed addresses, and of content that is no longer needed.

Invariants: an outcome is never applied to a row that is no longer ours (each carries the lease it was delivered under);
no message loses its content while a row of it remains, and none keeps content without rows. Limitations: an attempt
whose row was removed meanwhile (suppressed, cancelled) leaves its event and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, assert_never

import asyncpg
import orjson

from bounce.suppression import (
    SoftBounce,
    SoftBounceThresholds,
    is_soft,
    soft_bounce_thresholds,
    soft_failures,
)
from config.schema import SuppressionSettings
from mta.mail.delivery import Attempt, Deferred, Delivered, Failed, Outcome
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Stream
from mta.mail.reply import sanitise
from mta.mail.values import dataclass
from mta.observe.log import get_logger
from mta.store.journal import recipient_activity
from mta.store.permission import suppression_writer
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue, holds, removal
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.removal import Row
from mta.store.reputation import delivery_stats, soft_bounces
from policy.permission.suppression import Reason, SuppressionRequest

log = get_logger()

LAST_REPLY = 500  # characters shown in the queue
LONGEST = 30.0  # seconds for one batch, at last; no client is waiting


class DetailLevel(Enum):
    """How much of a result is kept: less each time the database refuses the data."""

    FULL = "full"
    WITHOUT_TEXT = "without text"
    BARE = "bare"  # nor a DSN


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """An attempt and its outcomes. ``dsn``: a message to the sender about them, queued if any outcome counts.
    ``delay_dsn_sent``: it reports a delay, so that no second one is sent."""

    attempt: Attempt
    outcomes: tuple[Outcome, ...]
    dsn: NewMessage | None = None
    delay_dsn_sent: bool = False

    @property
    def ended_at(self) -> datetime:
        return self.attempt.started_at + timedelta(seconds=self.attempt.seconds)

    @property
    def ends_message(self) -> bool:
        """Whether all that is left of the message is in this delivery, and ends here without other consequences."""
        return (
            self.attempt.delivery.whole
            and self.dsn is None
            and not any(isinstance(outcome, Deferred) for outcome in self.outcomes)
            and not any(_counts_against(outcome) for outcome in self.outcomes)
        )


_Pair = tuple[DeliveryResult, Outcome]


# The lease is compared in a form that no index serves: its index would find every row that we hold.
_GONE = f"""
with
    gone as (
        delete from queue
        where message_id = any($1::uuid[]) and lease is not distinct from $3::bigint
            and (message_id, recipient_index) in (select * from unnest($1::uuid[], $2::int[]))
        returning message_id, recipient_index, account_id, address_key, stream, holds
    ),
    freed as ({holds.OF_DELETED}),
    said as (
        insert into event (at, message_id, recipient_index, kind, data)
        select at, message_id, recipient_index, kind, data
        from unnest($4::timestamptz[], $1::uuid[], $2::int[], $5::text[], $6::jsonb[])
            as one (at, message_id, recipient_index, kind, data)
        where (message_id, recipient_index) in (select message_id, recipient_index from gone)
    ),
    cleared as (
        delete from content_kept where message_id = any(array(select message_id from gone))
    ),
    forgiven as ({soft_bounces.DELIVERED})"""  # noqa: S608 - our own text

_REACHED = f""",
    reached as (
        select address_key, account_id, at
        from gone join unnest($1::uuid[], $2::int[], $4::timestamptz[], $5::text[])
            as one (message_id, recipient_index, at, kind) using (message_id, recipient_index)
        where stream = 'marketing' and kind = 'delivered'
    ),
    contacts as ({recipient_activity.DELIVERED})"""  # noqa: S608 - our own text

# A batch that was written before, and comes again because its commit was not confirmed, is not counted twice.
_STATS = f""",
    stats as ({delivery_stats.upsert(7, "where exists (select from gone)")})"""

_COUNTED = """
select message_id, recipient_index from gone"""

_END_MESSAGES = _GONE + _STATS + _COUNTED
_END_MARKETING = _GONE + _STATS + _REACHED + _COUNTED

_END = f"""
with
    gone as (
        delete from queue q
        using unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease)
        where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
            and q.lease = one.lease
        returning q.message_id, q.recipient_index, q.holds
    ),
    freed as ({holds.OF_DELETED})
select message_id, recipient_index from gone"""  # noqa: S608 - our own text

# Waits are counted by the database's clock, whatever the worker's says. What expires meanwhile and is deferred all the
# same (expiry was suspended, for a clock that cannot be trusted) expires with its next attempt.
_DEFER = """
update queue q
set attempts = attempts + 1, lease = null, last_reply = one.reply, delayed_by = one.delayed_by::delay_reason,
    delay_dsn_sent = q.delay_dsn_sent or one.told,
    due_at = case
        when q.bounce is not null then least(now(), q.expires_at)
        when q.expires_at > now() then least(now() + one.wait, q.expires_at)
        else now() + one.wait
    end,
    expires_at = case
        when q.bounce is not null or q.expires_at > now() then q.expires_at
        else now() + one.wait
    end
from unnest($1::uuid[], $2::int[], $3::bigint[], $4::interval[], $5::text[], $6::bool[], $7::text[])
    as one (message_id, recipient_index, lease, wait, reply, told, delayed_by)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease
returning q.message_id, q.recipient_index"""

_INSERT_EVENTS = """
insert into event (at, message_id, recipient_index, kind, data)
select * from unnest($1::timestamptz[], $2::uuid[], $3::int[], $4::text[], $5::jsonb[])"""

# An attempt's end is unique to the microsecond: the same event is never written twice.
_INSERT_CANCELLED = """
insert into event (at, message_id, recipient_index, kind, data)
select at, message_id, recipient_index, kind, data
from unnest($1::timestamptz[], $2::uuid[], $3::int[], $4::text[], $5::jsonb[], $6::bigint[])
    as one (at, message_id, recipient_index, kind, data, lease)
where exists (select from worker w where w.id = one.lease)
    and not exists (select from queue q where q.message_id = one.message_id and q.recipient_index = one.recipient_index)
    and not exists (
        select from event e
        where e.message_id = one.message_id and e.recipient_index = one.recipient_index and e.kind = one.kind
            and e.at = one.at
    )"""


class DeliveryResults:
    """Made by ``Store``. ``thresholds``: how many soft bounces suppress an address."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets
        self.thresholds = soft_bounce_thresholds(SuppressionSettings())

    async def write(self, batch: Sequence[DeliveryResult], *, tries: int = 0) -> Sequence[Exception | None]:
        """Write a batch; for each result None, or why the database refuses even the least of it.

        ``tries``: how often it has failed before. A connection that stands still is given up soon, and a database that
        is slow gets twice the time with each try: what is not recorded is sent again after a crash.

        Raises StoreUnavailable: then it is not known what was written, and writing the batch again does no harm.
        """
        seconds = min(LONGEST, self._database.timeout * 2 ** min(tries, 10))
        return await self._write(batch, DetailLevel.FULL, seconds)

    async def _write(
        self, batch: Sequence[DeliveryResult], detail: DetailLevel, seconds: float
    ) -> list[Exception | None]:
        """Write a batch. If the database refuses its data, halve it, and at last write less rather than nothing."""
        try:
            await self._commit(batch, detail, seconds)
        except StoreUnavailable:
            raise
        except asyncpg.TransactionRollbackError:  # a deadlock, which the other side has won
            return await self._write(batch, detail, seconds)
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                first = await self._write(batch[:half], detail, seconds)
                return [*first, *await self._write(batch[half:], detail, seconds)]
            message = format_id(batch[0].attempt.delivery.message_id)
            log.error("outcome refused by the database", message=message, detail=detail.value, reason=str(error))
            match detail:
                case DetailLevel.FULL:
                    return await self._write(batch, DetailLevel.WITHOUT_TEXT, seconds)
                case DetailLevel.WITHOUT_TEXT:
                    return await self._write(batch, DetailLevel.BARE, seconds)
                case DetailLevel.BARE:
                    return [error]
                case _:
                    assert_never(detail)
        return [None] * len(batch)

    async def _commit(self, batch: Sequence[DeliveryResult], detail: DetailLevel, seconds: float) -> None:
        """Results that end their messages take one statement; the others a transaction."""
        lease = batch[0].attempt.delivery.lease
        ending: list[DeliveryResult] = []
        others: list[DeliveryResult] = []
        for each in batch:
            (ending if each.ends_message and each.attempt.delivery.lease == lease else others).append(each)
        counted: set[Row] = set()
        if ending:
            async with self._database.session(seconds) as connection:
                counted |= await end_messages(connection, ending, detail)
        if others:
            counted |= await self._database.retried(
                lambda connection: _write_others(connection, others, self._secrets, detail, self.thresholds),
                seconds=seconds,
            )
        if len(counted) < sum(len(each.outcomes) for each in batch):
            async with self._database.session(seconds) as connection:
                await _write_cancelled(connection, batch, counted, detail)


async def end_messages(connection: Connection, results: Sequence[DeliveryResult], detail: DetailLevel) -> set[Row]:
    """Write results that end their messages, all under one lease, in one statement. Return the rows that counted."""
    events = [_event(result, outcome, detail) for result in results for outcome in result.outcomes]
    at, ids, places, kinds, data = zip(*events, strict=True)
    lease = results[0].attempt.delivery.lease
    marketing = any(each.attempt.delivery.stream is Stream.MARKETING for each in results)
    statement = _END_MARKETING if marketing else _END_MESSAGES
    counts = delivery_stats.columns((each.attempt, outcome) for each in results for outcome in each.outcomes)
    return _rows(await connection.fetch(statement, ids, places, lease, at, kinds, data, *counts))


async def _write_others(
    connection: Connection,
    results: Sequence[DeliveryResult],
    secrets: Secrets,
    detail: DetailLevel,
    thresholds: SoftBounceThresholds,
) -> set[Row]:
    """Write results of every kind, within the caller's transaction. Return the rows that counted."""
    pairs = [(result, outcome) for result in results for outcome in result.outcomes]
    ended = [(each, outcome) for each, outcome in pairs if not isinstance(outcome, Deferred)]
    deferred = [(each, outcome) for each, outcome in pairs if isinstance(outcome, Deferred)]

    hard = {
        _row(each, outcome): _hard_bounce(each, outcome, secrets, thresholds)
        for each, outcome in ended
        if isinstance(outcome, Failed) and outcome.suppresses
    }
    soft = {_row(*pair): _soft_bounce(*pair, secrets) for pair in _soft(results, thresholds)}
    too_many = zip(soft, await soft_bounces.weigh(connection, list(soft.values()), thresholds), strict=True)
    requests = hard | {row: request for row, request in too_many if request}
    ending = {each.attempt.delivery.message_id for each, _ in ended}
    # Any transaction that removes rows of a message with other rows waits here, so that one sees the last.
    locked = await suppression_writer.lock(connection, list(requests.values()), also=ending)

    counted = await _end(connection, ended) | await _defer(connection, deferred, detail)
    pairs = [pair for pair in pairs if _row(*pair) in counted]
    delivered = [pair for pair in pairs if isinstance(pair[1], Delivered)]
    dsns = [] if detail is DetailLevel.BARE else _dsns(results, counted)
    events = [*(_event(*pair, detail) for pair in pairs), *(_dsn_event(each, dsn) for each, dsn in dsns)]
    if events:
        await connection.execute(_INSERT_EVENTS, *zip(*events, strict=True))
    made = [request for row, request in requests.items() if row in counted]
    await suppression_writer.write(connection, made, locked)
    settled = [_mailbox(*pair, secrets) for pair in delivered] + [(each.address_key, each.account_id) for each in made]
    await soft_bounces.record(connection, [each for row, each in soft.items() if row in counted], thresholds, settled)
    if dsns:
        await enqueue.insert(connection, [(dsn, None) for _, dsn in dsns], secrets)
    await removal.clear_content(connection, ending)
    reached = [pair for pair in delivered if pair[0].attempt.delivery.stream is Stream.MARKETING]
    await recipient_activity.delivered(connection, [(*_mailbox(*pair, secrets), pair[0].ended_at) for pair in reached])
    await delivery_stats.settled(connection, [(each.attempt, outcome) for each, outcome in pairs])
    return counted


async def _write_cancelled(
    connection: Connection, results: Sequence[DeliveryResult], counted: set[Row], detail: DetailLevel
) -> None:
    """Write the events of attempts that were really made, but whose rows were cancelled meanwhile."""
    events = [
        (*_event(each, outcome, detail, cancelled=True), each.attempt.delivery.lease)
        for each in results
        if each.attempt.host is not None
        for outcome in each.outcomes
        if _row(each, outcome) not in counted
    ]
    if events:
        await connection.execute(_INSERT_CANCELLED, *zip(*events, strict=True))


async def _end(connection: Connection, ended: Sequence[_Pair]) -> set[Row]:
    if not ended:
        return set()
    keys = [(*_row(each, outcome), each.attempt.delivery.lease) for each, outcome in ended]
    return _rows(await connection.fetch(_END, *zip(*keys, strict=True)))


async def _defer(
    connection: Connection, deferred: Sequence[tuple[DeliveryResult, Deferred]], detail: DetailLevel
) -> set[Row]:
    if not deferred:
        return set()
    now = datetime.now(UTC)
    changes = [
        (
            *_row(each, outcome),
            each.attempt.delivery.lease,
            max(outcome.until - now, timedelta()),
            _last_reply(outcome, detail),
            each.delay_dsn_sent,
            outcome.reason and outcome.reason.value,
        )
        for each, outcome in deferred
    ]
    return _rows(await connection.fetch(_DEFER, *zip(*changes, strict=True)))


def _rows(found: Iterable[Any]) -> set[Row]:
    return {(each["message_id"], each["recipient_index"]) for each in found}


def _row(result: DeliveryResult, outcome: Outcome) -> Row:
    return result.attempt.delivery.message_id, outcome.result.recipient.index


def _mailbox(result: DeliveryResult, outcome: Outcome, secrets: Secrets) -> tuple[bytes, int]:
    """Return the address key of the recipient, and the account that mails it."""
    return secrets.address_key(outcome.result.recipient.address), result.attempt.delivery.account_id


def _dsns(results: Sequence[DeliveryResult], counted: set[Row]) -> list[tuple[DeliveryResult, NewMessage]]:
    """Return the DSNs that are true: something they report was written."""
    return [
        (each, each.dsn)
        for each in results
        if each.dsn and any(_row(each, outcome) in counted for outcome in each.outcomes)
    ]


# --- bounces


def _counts_against(outcome: Outcome) -> bool:
    """Whether a failure suppresses the recipient, or may do so together with others."""
    return isinstance(outcome, Failed) and (outcome.suppresses or is_soft(outcome.classification))


def _soft(
    results: Iterable[DeliveryResult], thresholds: SoftBounceThresholds
) -> Iterator[tuple[DeliveryResult, Failed]]:
    return ((each, failed) for each in results for failed in soft_failures(each.outcomes, thresholds))


def _soft_bounce(result: DeliveryResult, failed: Failed, secrets: Secrets) -> SoftBounce:
    delivery, address = result.attempt.delivery, failed.result.recipient.address
    return SoftBounce(
        secrets.address_key(address),
        delivery.account_id,
        failed.classification.category,
        delivery.mailing or "",
        failed.classification.rule,
        _evidence(result, failed),
        address,
        delivery.message_id,
    )


def _hard_bounce(
    result: DeliveryResult, failed: Failed, secrets: Secrets, thresholds: SoftBounceThresholds
) -> SuppressionRequest:
    address, lasts = failed.result.recipient.address, thresholds.hard_lasts
    return SuppressionRequest(
        secrets.address_key(address),
        result.attempt.delivery.account_id,
        Reason.HARD_BOUNCE,
        failed.classification.rule,
        address=address,
        detail=failed.classification.category,
        evidence=_evidence(result, failed),
        message_id=result.attempt.delivery.message_id,
        expires_at=None if lasts is None else result.ended_at + lasts,
    )


def _evidence(result: DeliveryResult, failed: Failed) -> str:
    host = result.attempt.host
    return " ".join(f"{host.name if host else 'receiver'} said {failed.result.reply}".split())


# --- events


def _last_reply(outcome: Deferred, detail: DetailLevel) -> str:
    reply = outcome.result.reply
    return sanitise(str(reply), LAST_REPLY) if detail is DetailLevel.FULL else str(reply.code)


_Event = tuple[datetime, MessageId, int | None, str, str]  # at, message_id, recipient_index, kind, data


def _event(result: DeliveryResult, outcome: Outcome, detail: DetailLevel, *, cancelled: bool = False) -> _Event:
    data = _explain(result.attempt, outcome) if detail is DetailLevel.FULL else {"code": outcome.result.reply.code}
    if cancelled:
        data["pulled"] = True
    return result.ended_at, *_row(result, outcome), event_kind(outcome), orjson.dumps(data).decode()


def _dsn_event(result: DeliveryResult, dsn: NewMessage) -> _Event:
    """Return the event that a DSN was queued: which message, and to whom."""
    recipients = ", ".join(str(recipient.address) for recipient in dsn.message.envelope.recipients)
    data = {"id": format_id(dsn.message.id), "to": recipients}
    return result.ended_at, result.attempt.delivery.message_id, None, "dsn", orjson.dumps(data).decode()


def event_kind(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Deferred():
            return "deferred"
        case Failed(expired=expired):
            return "expired" if expired else "failed"
        case _:
            assert_never(outcome)


def _explain(attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
    """Return everything that explains an outcome; what is not known is left out."""
    result, reply, host = outcome.result, outcome.result.reply, attempt.host
    data: dict[str, Any] = {
        "code": reply.code,
        "status": reply.status,
        "text": sanitise(reply.text),
        "stage": result.stage.value,
        "seconds": round(attempt.seconds, 3),
    }
    if host:
        data["host"], data["address"], data["tls"] = host.name, host.address, host.tls
    if attempt.source:
        data["source"] = attempt.source
    if attempt.provider:
        data[delivery_stats.PROVIDER] = attempt.provider
    if attempt.transcript:
        data["transcript"] = sanitise(attempt.transcript)
    if result.delivery_unknown:
        data["delivery_unknown"] = True
    if not isinstance(outcome, Delivered):
        found = outcome.classification
        data |= {"category": found.category, "fault": found.fault.value, "rule": found.rule}
    if isinstance(outcome, Deferred):
        data["until"] = outcome.until
    return data
