"""Read the facts about an inbound report, and apply the actions that follow from it.

Invariants: All actions of a report, their dedup keys and its removal from the queue are one transaction: a crash leaves
everything or nothing. An action is not applied again while its key is kept (KEPT), longer than return paths and tokens
are valid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, assert_never
from uuid import UUID

import orjson

from bounce.suppression import soft_bounce_thresholds
from config.schema import SuppressionSettings
from mta.mail.address import Address
from mta.mail.message import Stream
from mta.observe.log import get_logger
from mta.store.journal import outbox
from mta.store.permission import suppression_writer
from mta.store.permission.unsubscribes import UnsubscribeVia, addresses_of, suppression_of, with_addresses
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue
from mta.store.queue.enqueue import NewMessage
from mta.store.reputation import case_receipts, cases, delivery_stats, soft_bounces
from mta.store.reputation.case_records import CaseError, dossier_of, open_case
from mta.store.results import report_queue
from mta.store.results.report_actions import (
    AnswerCase,
    CountReport,
    CountStats,
    CountUnsubscribe,
    FactsQuery,
    Forward,
    InboundReport,
    OpenCase,
    RecordEvent,
    RecordSoftBounce,
    ReportAction,
    ReportFacts,
    SendReceipt,
    SentMessage,
    Suppress,
    Unsubscribe,
)
from policy.reputation.complaint import Complaint

log = get_logger()

KEPT = timedelta(days=400)
LATELY = timedelta(days=60)  # who mailed someone within that time is meant by a request that names no sender

# Always returns one row.
_FACTS = """
select
    (
        select jsonb_agg(jsonb_build_object(
            'id', m.id, 'account_id', m.account_id, 'sender', m.sender, 'recipients', m.record -> 'recipients',
            'stream', m.record -> 'stream', 'mailing', m.record -> 'mailing',
            'providers', (
                select jsonb_object_agg(latest.recipient_index, latest.provider) from (
                    select distinct on (e.recipient_index) e.recipient_index, e.data ->> 'provider' as provider
                    from event e
                    where e.message_id = m.id and e.recipient_index is not null and e.data ? 'provider'
                        and (asked.recipient_index is null or e.recipient_index = asked.recipient_index)
                    order by e.recipient_index, e.at desc
                ) latest
            )
        ))
        from unnest($1::uuid[], $2::int[]) as asked (id, recipient_index) join message m on m.id = asked.id
    ) as messages,
    (
        select jsonb_build_array(id, account_id) from mailing where id = any($3::text[])
        order by array_position($3::text[], id) limit 1
    ) as mailing,
    (select account_id from complaint_case where id = $4) as case_account,
    (
        select array_agg(account_id order by account_id) from recipient_activity
        where address_key = $5 and greatest(contacted_at, accepted[cardinality(accepted)]) > now() - $6::interval
    ) as mailed_by"""

_NEW_KEYS = """
insert into processed_report (digest) select digest from unnest($1::bytea[]) as digest order by digest
on conflict do nothing returning digest"""

_EVENT = "insert into event (message_id, recipient_index, kind, data) values ($1, $2, $3, $4)"

_OLD = "delete from processed_report where at < now() - $1::interval"


@dataclass(slots=True)
class _Batch:
    """The actions to write, by type."""

    answers: list[AnswerCase] = field(default_factory=list)
    unsubscribes: list[Unsubscribe] = field(default_factory=list)
    suppressions: list[Suppress] = field(default_factory=list)
    soft_bounces: list[RecordSoftBounce] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    receipts: list[SendReceipt] = field(default_factory=list)
    cases: list[OpenCase] = field(default_factory=list)
    events: list[RecordEvent] = field(default_factory=list)
    stats: list[CountStats] = field(default_factory=list)

    def add(self, action: ReportAction) -> None:
        match action:
            case AnswerCase():
                self.answers.append(action)
            case Unsubscribe():
                self.unsubscribes.append(action)
            case Suppress():
                self.suppressions.append(action)
            case RecordSoftBounce():
                self.soft_bounces.append(action)
            case Forward():
                self.forwards.append(action)
            case SendReceipt():
                self.receipts.append(action)
            case OpenCase():
                self.cases.append(action)
            case RecordEvent():
                self.events.append(action)
            case CountStats():
                self.stats.append(action)
            case CountReport() | CountUnsubscribe():
                pass  # metrics: the caller counts after the commit
            case _:
                assert_never(action)


class ReportMail(Protocol):
    """Builds the mail that follows from a report; None if it cannot be sent."""

    def forward(self, forward: Forward) -> NewMessage | None: ...

    def receipt(self, receipt: SendReceipt, case_id: int | None) -> NewMessage | None: ...


class Reports:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets
        self.thresholds = soft_bounce_thresholds(SuppressionSettings())

    async def facts(self, query: FactsQuery) -> ReportFacts:
        """Read everything that ``query`` asks for, in one round trip. Raises StoreUnavailable."""
        if query == FactsQuery():
            return ReportFacts()
        ids, indexes = zip(*query.messages, strict=True) if query.messages else ((), ())
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FACTS, ids, indexes, query.mailings, query.case_id, query.writer, LATELY)
        assert row is not None
        messages = [_sent_message(each) for each in orjson.loads(row["messages"] or "[]")]
        mailing = orjson.loads(row["mailing"]) if row["mailing"] else None
        return ReportFacts(
            {each.id: each for each in messages},
            mailing and tuple(mailing),
            row["case_account"],
            tuple(row["mailed_by"] or ()),
        )

    async def apply(
        self,
        report: InboundReport,
        actions: Sequence[ReportAction],
        mail: ReportMail,
    ) -> list[ReportAction]:
        """Apply ``actions`` and remove ``report`` from the queue; return those that were applied.

        ``mail`` builds what is to be sent. Raises ReportReclaimed, StoreUnavailable; then nothing was changed.
        """

        async def work(connection: Connection) -> list[ReportAction]:
            await report_queue.finish(connection, report)
            keys = {action.dedup_key for action in actions if action.dedup_key is not None}
            new = {row["digest"] for row in await connection.fetch(_NEW_KEYS, list(keys))} if keys else set()
            applied = [action for action in actions if action.dedup_key is None or action.dedup_key in new]
            await self._write(connection, applied, mail)
            return applied

        return await self._database.retried(work)

    async def sweep(self) -> None:
        """Delete old dedup keys and traces of receipts. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_OLD, KEPT)
            await case_receipts.sweep(connection)

    async def _write(
        self,
        connection: Connection,
        actions: Sequence[ReportAction],
        mail: ReportMail,
    ) -> None:
        """Write ``actions`` in the common order of locks: accounts, ledgers and messages, statistics last."""
        batch = _Batch()
        for action in actions:
            batch.add(action)
        for answer in batch.answers:
            await _answer(connection, answer)
        # Before the suppressions, which end the consents that they tell of.
        dossiers = [await dossier_of(connection, each.complaint) for each in batch.cases]
        await self._suppress(connection, batch)
        opened = {
            each.dedup_key: await _open_case(connection, each.complaint, dossier)
            for each, dossier in zip(batch.cases, dossiers, strict=True)
        }
        await self._send(connection, batch, opened, mail)
        for event in batch.events:
            await _record(connection, event, opened.get(event.dedup_key))
        for stats in batch.stats:
            await delivery_stats.add(connection, stats.origin, stats.counts)

    async def _send(self, connection: Connection, batch: _Batch, opened: Mapping[bytes, int], mail: ReportMail) -> None:
        """Queue what is forwarded, and the receipts that may be sent."""
        messages = [mail.forward(each) for each in batch.forwards]
        for receipt in batch.receipts:
            if await case_receipts.reserve(connection, receipt.address_key, receipt.per_hour):
                case_id = opened.get(receipt.case_key) if receipt.case_key else None
                messages.append(mail.receipt(receipt, case_id))
        if built := [(message, None) for message in messages if message]:
            await enqueue.insert(connection, built, self._secrets)

    async def _suppress(self, connection: Connection, batch: _Batch) -> None:
        """Suppress what the reports, the unsubscriptions and too many soft bounces ask for."""
        now = datetime.now(UTC)
        bounces = [each.bounce for each in batch.soft_bounces]
        asked = [each.request for each in batch.suppressions]
        asked += [suppression_of(each.claim, UnsubscribeVia.MAIL, now) for each in batch.unsubscribes]
        requests = [
            *await with_addresses(connection, asked),
            *(each for each in await soft_bounces.weigh(connection, bounces, self.thresholds) if each),
        ]
        await suppression_writer.apply(connection, requests)
        ended = [(each.address_key, each.account_id) for each in requests]
        await soft_bounces.record(connection, bounces, self.thresholds, ended)


async def _open_case(connection: Connection, complaint: Complaint, dossier: Mapping[str, Any] | None) -> int:
    """Open a case that names the complainer, of whom a token tells the hash only."""
    if complaint.address is None and complaint.address_key is not None:
        sought = (complaint.account_id, complaint.address_key)
        address = (await addresses_of(connection, [sought])).get(sought)
        complaint = replace(complaint, address=str(address) if address else None)
    return await open_case(connection, complaint, dossier)


async def _answer(connection: Connection, answer: AnswerCase) -> None:
    record = cases.answer_letter if answer.proven else cases.note_unproven
    try:
        await record(connection, answer.case_id, text=answer.text, by=answer.by, evidence=answer.evidence)
    except CaseError as error:
        log.info("case reply ignored", case=f"C-{answer.case_id}", reason=str(error))


async def _record(connection: Connection, event: RecordEvent, case_id: int | None) -> None:
    data: Mapping[str, Any] = event.data if case_id is None else {**event.data, "case": f"C-{case_id}"}
    await connection.execute(_EVENT, event.message_id, event.recipient_index, event.kind, orjson.dumps(data).decode())
    if event.account_id is not None:
        await outbox.note(
            connection,
            event.account_id,
            event.kind,
            data,
            message_id=event.message_id,
            recipient_index=event.recipient_index,
        )


def _sent_message(row: Mapping[str, Any]) -> SentMessage:
    return SentMessage(
        UUID(row["id"]),
        row["account_id"],
        _address(row["sender"]),
        tuple(_address(text) for text in row["recipients"]),
        Stream(row["stream"] or Stream.TRANSACTIONAL.value),
        row["mailing"],
        {int(index): provider for index, provider in (row["providers"] or {}).items()},
    )


def _address(text: str | None) -> Address | None:
    """Return an address as stored; None for the null sender and for one that was redacted."""
    local, at, domain = (text or "").rpartition("@")
    return Address(local, domain) if at else None
