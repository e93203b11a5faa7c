"""A mailing as it is recorded: its row, and its whole story: who confirmed it, its messages, the permission behind it.

Limitations: counts cover the mailing's messages whose record is still kept (``retention.messages``) and take seconds
for a million of them. Consents are the account's for the mailing's topic as they are now; those that each message was
sent under are in its findings (``mta explain``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId
from mta.store.mailings import references
from mta.store.mailings.references import ReferenceRecord
from mta.store.postgres.database import Connection, Database
from policy.accounts.checked_pages import CheckedPage, CheckedPages
from policy.accounts.mailing import Confirmation, Mailing, Sample

COLUMNS = """
m.id, m.account_id, m.name, m.topic, m.category, m.list, m.created_at, m.created_by, m.confirmed_at, m.confirmed_by,
m.confirmed_terms, m.sample, m.sampled, m.released_at, m.released_by, m.stopped_at, m.stopped_by, m.stopped,
m.stop_bounces, m.changed_at, s.origin, s.approved_at, array(
    select r.number from mailing_reference r where r.mailing = m.id and r.removed_at is null order by 1
) as reference_numbers, array(
    select r.number from mailing_reference r
    where r.mailing = m.id and r.removed_at is null and r.redacted_at is not null order by 1
) as redacted_numbers, array(
    select r.evidence -> 'pages' from mailing_reference r
    where r.mailing = m.id and r.removed_at is null and r.evidence ? 'pages'
) as reference_pages"""
FROM = "from mailing m left join list_source s on s.account_id = m.account_id and s.name = m.list"


@dataclass(frozen=True, slots=True)
class MailingRecord:
    """A mailing as operators see it: who did what with it, and when."""

    mailing: Mailing
    created_at: datetime
    created_by: str
    released_by: str | None
    stopped_at: datetime | None
    stopped_by: str | None
    stop_bounces: bool


def mailing_of(row: Any) -> Mailing:
    confirmed = row["confirmed_at"]
    return Mailing(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        topic=row["topic"],
        category=row["category"],
        list=row["list"],
        confirmation=Confirmation(confirmed, row["confirmed_by"], row["confirmed_terms"]) if confirmed else None,
        sample=Sample(row["sample"], row["sampled"], row["released_at"]) if row["sample"] is not None else None,
        origin=row["origin"],
        approved=row["approved_at"] is not None,
        stopped=row["stopped"],
        references=tuple(row["reference_numbers"]),
        redacted=tuple(row["redacted_numbers"]),
        pages=CheckedPages(tuple(_page(each) for kept in row["reference_pages"] for each in orjson.loads(kept))),
    )


def _page(kept: dict[str, Any]) -> CheckedPage:
    return CheckedPage(**kept | {"at": datetime.fromisoformat(kept["at"])})


def record_of(row: Any) -> MailingRecord:
    return MailingRecord(
        mailing=mailing_of(row),
        created_at=row["created_at"],
        created_by=row["created_by"],
        released_by=row["released_by"],
        stopped_at=row["stopped_at"],
        stopped_by=row["stopped_by"],
        stop_bounces=row["stop_bounces"],
    )


SECONDS = 300.0  # for all questions together

_MESSAGES = """
select count(*) as messages, coalesce(sum(recipients), 0)::bigint as recipients, min(received_at) as first,
    max(received_at) as last
from message where record ->> 'mailing' = $2 and account_id = $1"""

_REFUSED = """
select split_part(record ->> 'reply', ':', 1) as answer, count(*) as messages, max(record ->> 'reply') as example
from rejection where record ->> 'mailing' in ($2, $3) and account_id = $1 group by 1 order by 2 desc limit 20"""

_OUTCOMES = """
select e.kind, coalesce(e.data ->> 'category', '') as category, count(*) as recipients
from message m join event e on e.message_id = m.id
where m.record ->> 'mailing' = $2 and m.account_id = $1 group by 1, 2 order by 3 desc limit 100"""

_LATEST = """
select e.at, e.message_id, e.kind, m.record -> 'recipients' ->> e.recipient_index as recipient, e.data
from message m join event e on e.message_id = m.id
where m.record ->> 'mailing' = $2 and m.account_id = $1 order by e.at desc, e.id desc limit $3"""

_WAITING = """
select case when lease is not null then 'leased' when holds > 0 then 'held' else 'ready' end as state, count(*)
from queue where mailing = $2 and account_id = $1 group by 1 order by 2 desc"""

_HELD = """
select source::text, ref, min(text) as text, count(*) as recipients
from hold where mailing = $2 and account_id = $1 group by 1, 2 order by 4 desc, 1, 2"""

_CONSENTS = """
select basis, count(*) as given, count(revoked_at) as revoked,
    count(*) filter (where revoked_at is null and missing <> '{}') as incomplete
from consent where account_id = $1 and topic in ($2, '*') group by 1 order by 2 desc"""

_HISTORY = """
select at, by, data from account_change
where account_id = $1 and kind = 'mailing' and data ->> 'mailing' = $2 order by id"""


@dataclass(frozen=True, slots=True)
class MailingAct:
    """Somebody did something with the mailing. ``data``: act, and what belongs to it."""

    at: datetime
    by: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MailingEvent:
    """One event of one of its messages."""

    at: datetime
    message_id: MessageId
    kind: str
    recipient: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConsentSummary:
    """Consents of one basis for the mailing's topic: all, and those among them that are revoked or lack evidence."""

    basis: str
    given: int
    revoked: int
    incomplete: int


@dataclass(frozen=True, slots=True)
class MailingStory:
    """``outcomes``: events by kind and category. ``waiting``: queued recipients by state. ``holds``: how
    many each hold keeps. ``refused``: messages by the rule that the answer names, with one answer."""

    record: MailingRecord
    account: str
    messages: int
    recipients: int
    first: datetime | None
    last: datetime | None
    outcomes: Sequence[tuple[str, str, int]]
    waiting: Sequence[tuple[str, int]]
    holds: Sequence[tuple[Hold, int]]
    refused: Sequence[tuple[str, int, str]]
    consents: Sequence[ConsentSummary]
    history: Sequence[MailingAct]
    references: Sequence[ReferenceRecord]
    latest: Sequence[MailingEvent]


async def tell_story(database: Database, record: MailingRecord, events: int) -> MailingStory:
    """The story of a mailing with its newest ``events``. Raises StoreUnavailable."""
    async with database.session(SECONDS) as connection, connection.transaction(readonly=True):
        await connection.execute("set local enable_seqscan = on; set local plan_cache_mode = force_custom_plan")
        return await _tell(connection, record, events)


async def _tell(connection: Connection, record: MailingRecord, events: int) -> MailingStory:
    mailing = record.mailing
    account_id, mailing_id = mailing.account_id, mailing.id
    account = await connection.fetchval("select name from account where id = $1", account_id)
    counted = await connection.fetchrow(_MESSAGES, account_id, mailing_id)
    assert counted is not None
    return MailingStory(
        record=record,
        account=account,
        messages=counted["messages"],
        recipients=counted["recipients"],
        first=counted["first"],
        last=counted["last"],
        outcomes=[tuple(row) for row in await connection.fetch(_OUTCOMES, account_id, mailing_id)],
        waiting=[tuple(row) for row in await connection.fetch(_WAITING, account_id, mailing_id)],
        holds=[
            (Hold(HoldSource(row["source"]), row["ref"], row["text"]), row["recipients"])
            for row in await connection.fetch(_HELD, account_id, mailing_id)
        ],
        refused=[tuple(row) for row in await connection.fetch(_REFUSED, account_id, mailing_id, mailing.name)],
        consents=[ConsentSummary(*row) for row in await connection.fetch(_CONSENTS, account_id, mailing.topic)],
        history=[
            MailingAct(row["at"], row["by"], orjson.loads(row["data"]))
            for row in await connection.fetch(_HISTORY, account_id, mailing_id)
        ],
        references=await references.read(connection, mailing_id),
        latest=[
            MailingEvent(row["at"], row["message_id"], row["kind"], row["recipient"], orjson.loads(row["data"]))
            for row in await connection.fetch(_LATEST, account_id, mailing_id, events)
        ],
    )
