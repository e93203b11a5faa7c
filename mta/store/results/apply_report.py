"""What follows from a mail that came back, in one transaction: events, suppressions, cases, counts, and what is told.

A report is remembered by a mark: one that says the same of the same recipient again changes nothing, however often it
comes. That it is done with is part of the same transaction, so that a crash leaves either nothing or everything.

It must never apply a report twice, nor a part of one.

*Limits.* Marks are kept for KEPT; return paths and tokens that are older should not be good any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from bounce.suppression import SoftBounce, soft_bounce_thresholds
from config.schema import SuppressionSettings
from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.observe.labels import InboundReportKind
from mta.store.journal import outbox
from mta.store.permission import suppression_writer
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue
from mta.store.queue.enqueue import NewMessage
from mta.store.reputation import delivery_stats, soft_bounces
from mta.store.reputation.case_opening import open_case
from mta.store.results import report_queue
from mta.store.results.report_queue import Arrived
from policy.permission.suppression import Reason, SuppressionRequest
from policy.reputation.breaker import MailOrigin
from policy.reputation.complaint import Complaint

KEPT = timedelta(days=400)

_SENT = """
select account_id, sender, record -> 'recipients' as recipients, record ->> 'stream' as stream,
    record ->> 'mailing' as mailing, record ->> 'topic' as topic
from message where id = $1"""

_MAILING = """
select id, account_id from mailing where id = any($1::text[]) order by array_position($1::text[], id) limit 1"""

_MARK = """
insert into processed_report (digest) select digest from unnest($1::bytea[]) as digest order by digest
on conflict do nothing returning digest"""

_SAY = "insert into event (message_id, recipient_index, kind, data) values ($1, $2, $3, $4)"

_OLD = "delete from processed_report where at < now() - $1::interval"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of ours that something came back for. ``recipients``: as in its envelope; an erased one is None."""

    id: MessageId
    account_id: int
    sender: Address | None
    recipients: tuple[Address | None, ...]
    stream: Stream
    mailing: str | None
    topic: str | None


@dataclass(frozen=True, slots=True)
class ReportAction:
    """What follows from one recipient's part of a report, unless its ``mark`` is known.

    ``kind`` and ``data``: the event, also of the account's webhooks. ``act``: who is suppressed. ``unknown``: because
    there is no such user. ``soft``: what counts towards a suppression. ``case``: a complaint that somebody must answer.
    ``mail``: what is told by mail.
    """

    mark: bytes
    sort: InboundReportKind
    kind: str
    data: Mapping[str, Any]
    account_id: int | None = None
    message_id: MessageId | None = None
    recipient_index: int | None = None
    act: SuppressionRequest | None = None
    unknown: bool = False
    soft: SoftBounce | None = None
    case: Complaint | None = None
    mail: NewMessage | None = field(default=None, repr=False)


class Returning:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets
        self.patience = soft_bounce_thresholds(SuppressionSettings())

    async def sent(self, message_id: MessageId) -> Sent | None:
        """A message of ours; None if there is no record of it (any more). Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_SENT, message_id)
        if row is None:
            return None
        return Sent(
            message_id,
            row["account_id"],
            _address(row["sender"]),
            tuple(_address(text) for text in orjson.loads(row["recipients"])),
            Stream(row["stream"] or Stream.TRANSACTIONAL.value),
            row["mailing"],
            row["topic"],
        )

    async def mailing(self, ids: Sequence[str]) -> tuple[str, int] | None:
        """The first of ``ids`` that is a mailing of ours, and its account. Raises StoreUnavailable."""
        if not ids:
            return None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_MAILING, ids)
        return None if row is None else (row["id"], row["account_id"])

    def key(self, address: Address) -> bytes:
        """The keyed hash by which an address is known in tokens."""
        return self._secrets.address_key(address)

    async def apply(self, arrived: Arrived, consequences: Sequence[ReportAction]) -> list[ReportAction]:
        """Do what follows, and be done with ``arrived``; those that were new.

        Raises Overtaken (somebody else does it), StoreUnavailable; then nothing was changed.
        """

        async def work(connection: Connection) -> list[ReportAction]:
            await report_queue.finish(connection, arrived)
            marked = await connection.fetch(_MARK, [each.mark for each in consequences])
            left = {row["digest"] for row in marked}
            fresh: list[ReportAction] = []
            for each in consequences:
                if each.mark in left:
                    left.remove(each.mark)
                    fresh.append(each)
            if fresh:
                await self._write(connection, fresh)
            return fresh

        return await self._database.retried(work)

    async def sweep(self) -> None:
        """Forget old marks. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_OLD, KEPT)

    async def _write(self, connection: Connection, fresh: Sequence[ReportAction]) -> None:
        """Locks are taken in everybody's order: ledgers and messages first, counts last."""
        soft = [each.soft for each in fresh if each.soft]
        heavy = await soft_bounces.weigh(connection, soft, self.patience)
        acts = [act for act in (*(each.act for each in fresh), *heavy) if act]
        await suppression_writer.apply(connection, [self._lasting(act) for act in acts])
        await soft_bounces.note(connection, [each for each in soft if each.category in self.patience.soft])
        await soft_bounces.forget(connection, [(act.address_key, act.account_id) for act in acts])
        mails = [(each.mail, None) for each in fresh if each.mail]
        if mails:
            await enqueue.insert(connection, mails, self._secrets)
        for each in fresh:
            await _say(connection, each)
        for each in fresh:
            await _count(connection, each)

    def _lasting(self, act: SuppressionRequest) -> SuppressionRequest:
        """A hard bounce, for as long as it holds."""
        if act.reason is not Reason.HARD_BOUNCE or self.patience.hard_lasts is None:
            return act
        return replace(act, expires_at=datetime.now(UTC) + self.patience.hard_lasts)


async def _say(connection: Connection, each: ReportAction) -> None:
    data = dict(each.data)
    if each.case:
        data["case"] = f"C-{await open_case(connection, each.case)}"
    await connection.execute(_SAY, each.message_id, each.recipient_index, each.kind, orjson.dumps(data).decode())
    if each.account_id is not None:
        await outbox.note(
            connection,
            each.account_id,
            each.kind,
            data,
            message_id=each.message_id,
            recipient_index=each.recipient_index,
        )


async def _count(connection: Connection, each: ReportAction) -> None:
    """For the breakers."""
    if each.account_id is None or each.sort not in (InboundReportKind.BOUNCE, InboundReportKind.COMPLAINT):
        return
    origin = await delivery_stats.origin(connection, each.message_id, each.recipient_index) if each.message_id else None
    origin = origin or MailOrigin(each.account_id, Stream.MARKETING, each.case.mailing if each.case else None)
    if each.sort is InboundReportKind.COMPLAINT:
        await delivery_stats.complaint(connection, origin)
    elif each.act and each.act.reason is Reason.HARD_BOUNCE:
        await delivery_stats.bounce(connection, origin, unknown=each.unknown)


def _address(text: str | None) -> Address | None:
    """As it was stored; None for the null sender and for one that was taken out of the record."""
    local, at, domain = (text or "").rpartition("@")
    return Address(local, domain) if at else None
