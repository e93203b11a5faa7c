"""What attempts came to, written down: rows leave the queue or wait for their next turn, with their events.

Everything that follows from one attempt is one transaction: outcomes, events, the notice to the sender, suppressions,
the removal of queued copies to suppressed addresses, and the content once nobody needs it.

It must never apply an outcome to a row that is not ours any more (each carries the lease it was delivered under), and
never leave a message without content while a row of it remains, or content without rows.

*Limits.* An attempt whose row was removed meanwhile (a suppression, an operator) leaves its event and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, assert_never

import orjson

from bounce.suppression import SoftBounce, SoftBounceThresholds, is_soft, soft_failures
from mta.mail.delivery import Action, Attempt, Deferred, Delivered, Failed, Outcome
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Stream
from mta.mail.reply import sanitise
from mta.store.journal import recipient_activity
from mta.store.journal.recipient_activity import Contacted
from mta.store.permission import suppression_writer
from mta.store.postgres.database import Connection
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue, rows
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.rows import Row
from mta.store.reputation import delivery_stats, soft_bounces
from policy.permission.suppression import Reason, SuppressionRequest

LAST_REPLY = 500  # characters shown in the queue


class DetailLevel(Enum):
    """How much of a settlement is kept: less each time the database refuses the data."""

    FULL = "full"
    WITHOUT_TEXT = "without text"
    BARE = "bare"  # nor a notice


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """An attempt and its outcomes. ``notice``: a message to the sender about them, queued if any outcome counts.
    ``delay_dsn_sent``: the notice is one of delay, so that no second one is sent."""

    attempt: Attempt
    outcomes: tuple[Outcome, ...]
    notice: NewMessage | None = None
    delay_dsn_sent: bool = False

    @property
    def ended_at(self) -> datetime:
        return self.attempt.started_at + timedelta(seconds=self.attempt.seconds)

    @property
    def ends_message(self) -> bool:
        """All that is left of the message is in this delivery, and ends here without further consequences."""
        return (
            self.attempt.delivery.whole
            and self.notice is None
            and not any(isinstance(outcome, Deferred) for outcome in self.outcomes)
            and not any(_is_held_against(outcome) for outcome in self.outcomes)
        )


# The lease is compared in a form that no index serves: its index would find every row that we hold.
_GONE = f"""
with
    gone as (
        delete from queue
        where message_id = any($1::uuid[]) and lease is not distinct from $3::bigint
            and (message_id, recipient_index) in (select * from unnest($1::uuid[], $2::int[]))
        returning message_id, recipient_index, account_id, address_key, stream
    ),
    said as (
        insert into event (at, message_id, recipient_index, kind, data)
        select at, message_id, recipient_index, kind, data
        from unnest($4::timestamptz[], $1::uuid[], $2::int[], $5::text[], $6::jsonb[])
            as one (at, message_id, recipient_index, kind, data)
        where (message_id, recipient_index) in (select message_id, recipient_index from gone)
    ),
    cleared as (
        delete from content where message_id = any(array(select message_id from gone))
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

# A batch that was settled before, and comes again because its commit was not heard of, is not counted twice.
_STATS = f""",
    stats as ({delivery_stats.upsert(7, "where exists (select from gone)")})"""

_COUNTED = """
select message_id, recipient_index from gone"""

_END_MESSAGES = _GONE + _STATS + _COUNTED
_END_MARKETING = _GONE + _STATS + _REACHED + _COUNTED

_END = """
delete from queue q using unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease
returning q.message_id, q.recipient_index"""

_DEFER = """
update queue q
set attempts = attempts + 1, lease = null, last_reply = one.reply, delay_dsn_sent = q.delay_dsn_sent or one.told,
    due_at = least(case when q.bounce is null then one.until else now() end, q.expires_at)
from unnest($1::uuid[], $2::int[], $3::bigint[], $4::timestamptz[], $5::text[], $6::bool[])
    as one (message_id, recipient_index, lease, until, reply, told)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease
returning q.message_id, q.recipient_index"""

_SAY = """
insert into event (at, message_id, recipient_index, kind, data)
select * from unnest($1::timestamptz[], $2::uuid[], $3::int[], $4::text[], $5::jsonb[])"""

# The moment of an attempt's end is its own to the microsecond: that same event is never written twice.
_SAY_PULLED = """
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


async def end_messages(connection: Connection, settlements: Sequence[DeliveryResult], care: DetailLevel) -> set[Row]:
    """Settle deliveries that end their messages, all held under one lease: one statement. The rows that counted."""
    events = [_event(settlement, outcome, care) for settlement in settlements for outcome in settlement.outcomes]
    at, ids, places, kinds, data = zip(*events, strict=True)
    lease = settlements[0].attempt.delivery.lease
    marketing = any(each.attempt.delivery.stream is Stream.MARKETING for each in settlements)
    statement = _END_MARKETING if marketing else _END_MESSAGES
    counts = delivery_stats.columns((each.attempt, outcome) for each in settlements for outcome in each.outcomes)
    ended = await connection.fetch(statement, ids, places, lease, at, kinds, data, *counts)
    return {(row["message_id"], row["recipient_index"]) for row in ended}


async def settle(
    connection: Connection,
    settlements: Sequence[DeliveryResult],
    secrets: Secrets,
    care: DetailLevel,
    patience: SoftBounceThresholds,
) -> set[Row]:
    """Settle deliveries of every kind, within a transaction of the caller's. The rows that counted."""
    pairs = [(settlement, outcome) for settlement in settlements for outcome in settlement.outcomes]
    ended = [(each, outcome) for each, outcome in pairs if not isinstance(outcome, Deferred)]
    deferred = [(each, outcome) for each, outcome in pairs if isinstance(outcome, Deferred)]

    hard = {_row(*pair): _hard_bounce(*pair, secrets, patience) for pair in ended if _suppresses(pair[1])}
    soft = {_row(*pair): _soft_bounce(*pair, secrets) for pair in _soft(settlements, patience)}
    too_many = zip(soft, await soft_bounces.weigh(connection, list(soft.values()), patience), strict=True)
    suppressed = hard | {row: act for row, act in too_many if act}
    ending = {each.attempt.delivery.message_id for each, _ in ended}
    # Whoever takes away rows of a message that others may hold rows of waits here for them, so that one sees the last.
    locked = await suppression_writer.lock(connection, list(suppressed.values()), also=ending)

    counted = await _end(connection, ended) | await _defer(connection, deferred, care)
    telling = [each for each in settlements if each.notice and _any_counted(each, counted)]
    if care is DetailLevel.BARE:
        telling = []
    events = [_event(each, outcome, care) for each, outcome in pairs if _row(each, outcome) in counted]
    events += [_notice_event(each) for each in telling]
    if events:
        await connection.execute(_SAY, *zip(*events, strict=True))
    acts = [act for row, act in suppressed.items() if row in counted]
    await suppression_writer.write(connection, acts, locked)
    await soft_bounces.note(connection, [each for row, each in soft.items() if row in counted])
    await soft_bounces.forget(connection, _settled_for(pairs, counted, acts, secrets))
    if telling:
        await enqueue.insert(connection, [(each.notice, None) for each in telling if each.notice], secrets)
    await rows.clear_content(connection, ending)
    await recipient_activity.delivered(
        connection, [_contacted(*pair, secrets) for pair in pairs if _reaches(*pair, counted)]
    )
    await delivery_stats.settled(
        connection, [(each.attempt, outcome) for each, outcome in pairs if _row(each, outcome) in counted]
    )
    return counted


async def note_pulled(
    connection: Connection, settlements: Sequence[DeliveryResult], counted: set[Row], care: DetailLevel
) -> None:
    """Write the events of attempts that were really made, but whose rows had been taken away in the meantime."""
    events = [
        (*_event(each, outcome, care, pulled=True), each.attempt.delivery.lease)
        for each in settlements
        if each.attempt.host is not None
        for outcome in each.outcomes
        if _row(each, outcome) not in counted
    ]
    if events:
        await connection.execute(_SAY_PULLED, *zip(*events, strict=True))


async def _end(connection: Connection, ended: Sequence[tuple[DeliveryResult, Outcome]]) -> set[Row]:
    if not ended:
        return set()
    keys = [(*_row(each, outcome), each.attempt.delivery.lease) for each, outcome in ended]
    return {
        (row["message_id"], row["recipient_index"]) for row in await connection.fetch(_END, *zip(*keys, strict=True))
    }


async def _defer(
    connection: Connection, deferred: Sequence[tuple[DeliveryResult, Deferred]], care: DetailLevel
) -> set[Row]:
    if not deferred:
        return set()
    changes = [
        (
            *_row(each, outcome),
            each.attempt.delivery.lease,
            outcome.until,
            _last_reply(outcome, care),
            each.delay_dsn_sent,
        )
        for each, outcome in deferred
    ]
    return {
        (row["message_id"], row["recipient_index"])
        for row in await connection.fetch(_DEFER, *zip(*changes, strict=True))
    }


def _row(settlement: DeliveryResult, outcome: Outcome) -> Row:
    return settlement.attempt.delivery.message_id, outcome.result.recipient.index


def _any_counted(settlement: DeliveryResult, counted: Iterable[Row]) -> bool:
    """Whether the notice is true: some of what the attempt came to was written."""
    return any(_row(settlement, each) in counted for each in settlement.outcomes)


def _reaches(settlement: DeliveryResult, outcome: Outcome, counted: set[Row]) -> bool:
    """Whether marketing mail has arrived."""
    marketing = settlement.attempt.delivery.stream is Stream.MARKETING
    return marketing and isinstance(outcome, Delivered) and _row(settlement, outcome) in counted


def _contacted(settlement: DeliveryResult, outcome: Outcome, secrets: Secrets) -> Contacted:
    key = secrets.address_key(outcome.result.recipient.address)
    return key, settlement.attempt.delivery.account_id, settlement.ended_at


def _suppresses(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed) and outcome.classification.action is Action.SUPPRESS


def _settled_for(
    pairs: Iterable[tuple[DeliveryResult, Outcome]],
    counted: set[Row],
    acts: Iterable[SuppressionRequest],
    secrets: Secrets,
) -> list[tuple[bytes, int]]:
    """Those whose soft bounces count no more: they were delivered to, or are suppressed."""
    delivered = [
        (secrets.address_key(outcome.result.recipient.address), each.attempt.delivery.account_id)
        for each, outcome in pairs
        if isinstance(outcome, Delivered) and _row(each, outcome) in counted
    ]
    return [*delivered, *((act.address_key, act.account_id) for act in acts)]


def _is_held_against(outcome: Outcome) -> bool:
    """Whether a failure suppresses the recipient, or may with others."""
    return isinstance(outcome, Failed) and (_suppresses(outcome) or is_soft(outcome.classification))


def _soft(
    settlements: Iterable[DeliveryResult], patience: SoftBounceThresholds
) -> Iterator[tuple[DeliveryResult, Failed]]:
    return ((each, failed) for each in settlements for failed in soft_failures(each.outcomes, patience))


def _soft_bounce(settlement: DeliveryResult, failed: Failed, secrets: Secrets) -> SoftBounce:
    delivery, address = settlement.attempt.delivery, failed.result.recipient.address
    return SoftBounce(
        secrets.address_key(address),
        delivery.account_id,
        failed.classification.category,
        delivery.mailing or "",
        failed.classification.rule,
        _evidence(settlement, failed),
        address,
        delivery.message_id,
    )


def _evidence(settlement: DeliveryResult, outcome: Outcome) -> str:
    host = settlement.attempt.host
    return " ".join(f"{host.name if host else 'receiver'} said {outcome.result.reply}".split())


def _hard_bounce(
    settlement: DeliveryResult, outcome: Outcome, secrets: Secrets, patience: SoftBounceThresholds
) -> SuppressionRequest:
    assert isinstance(outcome, Failed)
    address, lasts = outcome.result.recipient.address, patience.hard_lasts
    return SuppressionRequest(
        secrets.address_key(address),
        settlement.attempt.delivery.account_id,
        Reason.HARD_BOUNCE,
        outcome.classification.rule,
        address=address,
        detail=outcome.classification.category,
        evidence=_evidence(settlement, outcome),
        message_id=settlement.attempt.delivery.message_id,
        expires_at=None if lasts is None else settlement.ended_at + lasts,
    )


def _last_reply(outcome: Deferred, care: DetailLevel) -> str:
    reply = outcome.result.reply
    return sanitise(str(reply), LAST_REPLY) if care is DetailLevel.FULL else str(reply.code)


def _event(
    settlement: DeliveryResult, outcome: Outcome, care: DetailLevel, *, pulled: bool = False
) -> tuple[datetime, MessageId, int | None, str, str]:
    """One line of the message's story: at, message_id, recipient_index, kind, data."""
    data = _told(settlement.attempt, outcome) if care is DetailLevel.FULL else {"code": outcome.result.reply.code}
    if pulled:
        data["pulled"] = True
    return settlement.ended_at, *_row(settlement, outcome), kind(outcome), orjson.dumps(data).decode()


def _notice_event(settlement: DeliveryResult) -> tuple[datetime, MessageId, int | None, str, str]:
    """That the sender is told, and by which message."""
    assert settlement.notice
    message = settlement.notice.message
    recipients = ", ".join(str(recipient.address) for recipient in message.envelope.recipients)
    data = {"id": format_id(message.id), "to": recipients}
    return settlement.ended_at, settlement.attempt.delivery.message_id, None, "dsn", orjson.dumps(data).decode()


def kind(outcome: Outcome) -> str:
    """What the event of this outcome is called."""
    match outcome:
        case Delivered():
            return "delivered"
        case Deferred():
            return "deferred"
        case Failed(expired=expired):
            return "expired" if expired else "failed"
        case _:
            assert_never(outcome)


def _told(attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
    """Everything that explains an outcome; what is not known is left out."""
    result, reply, host = outcome.result, outcome.result.reply, attempt.host
    told: dict[str, Any] = {
        "code": reply.code,
        "status": reply.status,
        "text": sanitise(reply.text),
        "stage": result.stage.value,
        "seconds": round(attempt.seconds, 3),
    }
    if host:
        told["host"], told["address"], told["tls"] = host.name, host.address, host.tls
    if attempt.source:
        told["source"] = attempt.source
    if attempt.delivery.provider:
        told[delivery_stats.PROVIDER] = attempt.delivery.provider
    if attempt.transcript:
        told["transcript"] = sanitise(attempt.transcript)
    if result.delivery_unknown:
        told["delivery_unknown"] = True
    if not isinstance(outcome, Delivered):
        found = outcome.classification
        told |= {"category": found.category, "fault": found.fault.value, "rule": found.rule}
    if isinstance(outcome, Deferred):
        told["until"] = outcome.until
    return told
