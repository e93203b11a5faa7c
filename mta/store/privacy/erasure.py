"""Erase personal data: what has expired, class by class (``retention`` in the settings), and complaint cases on
request.

Expired data is deleted in small transactions. Evidence of consents is erased once all consents between an account and
an address have ended, by revocation or for lack of contact, and the time for claims is over. Suppressions stay, except
those with an expiry that has passed. The subject of a complaint case, its result and its costs stay, without names.

Invariants: evidence of a consent in force is not erased, and none without a ledger entry that says so. A case that is
not closed is not erased; its data is needed to settle the claim.

Limitations: a consent counts as lapsed after LAPSE without contact, whatever the account's profile says. Remarks of
operators in a closed case are erased as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any

from config.schema import RetentionSettings
from mta.store.journal import outbox
from mta.store.permission import ledger, sign_ups
from mta.store.postgres.database import Connection, Database, row_count
from mta.store.queue.retention import first_id_of
from mta.store.reputation import soft_bounces

CASES_OF_SUBJECT = """
select account_id, 'C-' || id as "case", source, state::text as state, address, mailing, summary as complaint,
    complaints, opened_at, closed_at, upheld
from complaint_case where address_key = $1 order by id"""

_EMPTY_CASES = """
said as (
    update case_event set evidence = null, data = data - '{{text,terms,reason,summary}}'::text[]
    from gone where case_id = gone.id
)
update complaint_case c set address = null, address_key = null, dossier = null, summary = '(erased)'
from gone where c.id = gone.id"""

_CLOSED_CASES = f"""
with gone as (
    select id from complaint_case where state = 'closed' and closed_at < $1 and summary <> '(erased)' limit $2
), {_EMPTY_CASES.format()}"""  # noqa: S608 - our own text

_ERASE_CASES = f"""
with gone as (
    select id from complaint_case
    where state = 'closed' and address_key = $1 and ($2::bigint is null or account_id = $2)
), {_EMPTY_CASES.format()}"""  # noqa: S608 - our own text


async def erase_cases(connection: Connection, address_key: bytes, account_id: int | None) -> None:
    """Erase the personal data in a person's closed cases, with one account or with all (None)."""
    await connection.execute(_ERASE_CASES, address_key, account_id)


CHUNK = 2000  # rows per transaction
PAGE = 10_000  # rows read per statement
SECONDS = 60.0
LAPSE = "18 months"

_REFUSALS = """
delete from rejection where id = any(array(select id from rejection where id < $1 order by id limit $2))"""

_HISTORY = """
delete from account_change where id = any(array(select id from account_change where at < $1 limit $2))"""

_AUDIT = """
delete from audit where id = any(array(select id from audit where at < $1 order by at limit $2))"""

# Their mistakes can name recipients.
_JOBS = """
delete from job where id = any(array(select id from job where changed_at < $1 limit $2))"""

# Of mailings of which no message is recorded any more.
_REFERENCES = """
delete from mailing_reference where ctid = any(array(
    select r.ctid from mailing_reference r
    where r.at < $1 and not exists (select from message where record ->> 'mailing' = r.mailing) limit $2
))"""

# Pages by key, so that large tables are read in parts.
_CONTACTS = """
with page as (
    select address_key, account_id, contacted_at, clicked_at, bought_at, accepted from recipient_activity
    where (address_key, account_id) > ($1, $2) order by address_key, account_id limit $3
),
gone as (
    delete from recipient_activity c using page p
    where c.address_key = p.address_key and c.account_id = p.account_id
        and coalesce(greatest(p.contacted_at, p.clicked_at, p.bought_at, p.accepted[cardinality(p.accepted)]),
            '-infinity') < $4
    returning 1
)
select address_key, account_id, (select count(*) from gone) as gone from page
order by address_key desc, account_id desc limit 1"""

_END = f"""
select address_key, account_id, max(coalesce(revoked_at, greatest(
    coalesce(confirmed_at, given_at), contacted_at, clicked_at, bought_at) + interval '{LAPSE}')) < $1 as ended
from consent left join recipient_activity using (address_key, account_id)"""  # noqa: S608 - our own text

_ENDED = f"""{_END}
where (address_key, account_id) > ($2, $3)
group by address_key, account_id order by address_key, account_id limit $4"""

_STILL = f"""{_END}
where account_id = $2 and address_key = any($3::bytea[]) group by address_key, account_id"""

_FORGET = "delete from consent where account_id = $1 and address_key = any($2::bytea[])"

_EXPIRED = """
with gone as (
    delete from suppression where ctid = any(array(
        select ctid from suppression where expires_at < $1 order by expires_at limit $2
    )) and expires_at < $1
    returning address, account_id, topic, reason, detail, rule, created_at
)
insert into event (kind, data)
select 'unsuppressed', jsonb_build_object(
    'account_id', nullif(account_id, 0), 'topic', topic, 'address', address, 'because', 'its time was over',
    'was', jsonb_build_object('reason', reason, 'detail', detail, 'rule', rule, 'created_at', created_at)
) from gone"""

_AT_FIRST: tuple[bytes, int] = (b"", 0)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Numbers of deleted rows. ``subjects``: addresses whose evidence was erased, per account; ``events_out``:
    events for webhooks; ``expired``: suppressions; ``soft``: soft bounces that no longer count; ``cases``: closed
    complaint cases whose personal data was erased, and ``references``: confirmed messages of mailings, after the same
    time as evidence of consents."""

    refusals: int = 0
    changes: int = 0
    contacts: int = 0
    subjects: int = 0
    events_out: int = 0
    expired: int = 0
    soft: int = 0
    cases: int = 0
    references: int = 0
    sign_ups: int = 0


async def forget(database: Database, now: datetime, keep: RetentionSettings) -> Forgotten:
    """Delete everything older than ``keep`` allows. Raises StoreUnavailable; what was deleted before stays deleted."""
    return Forgotten(
        await _all(database, _REFUSALS, first_id_of(now - timedelta(seconds=keep.rejections))),
        await _all(database, _HISTORY, now - timedelta(seconds=keep.account_history))
        + await _all(database, _AUDIT, now - timedelta(seconds=keep.account_history))
        + await _all(database, _JOBS, now - timedelta(seconds=keep.rejections)),
        await _contacts(database, now - timedelta(seconds=keep.recipient_activity)),
        await _evidence(database, now - timedelta(seconds=keep.consent_evidence)),
        await outbox.sweep(
            database, now - timedelta(seconds=keep.outbox), now - timedelta(seconds=keep.outbox_undelivered)
        ),
        await _all(database, _EXPIRED, now),
        await _all(database, soft_bounces.SWEEP, (now - timedelta(days=soft_bounces.KEPT)).date()),
        await _all(database, _CLOSED_CASES, now - timedelta(seconds=keep.consent_evidence)),
        await _all(database, _REFERENCES, now - timedelta(seconds=keep.consent_evidence)),
        await _all(database, sign_ups.SWEEP, now - sign_ups.KEPT),
    )


async def _all(database: Database, statement: str, before: object) -> int:
    deleted = 0
    while True:
        async with database.session(SECONDS) as connection:
            status: str = await connection.execute(statement, before, CHUNK)
        count = row_count(status)
        deleted += count
        if count < CHUNK:
            return deleted


async def _contacts(database: Database, before: datetime) -> int:
    last, deleted = _AT_FIRST, 0
    while True:
        async with database.session(SECONDS) as connection:
            row = await connection.fetchrow(_CONTACTS, *last, PAGE, before)
        if row is None:
            return deleted
        last, deleted = (row["address_key"], row["account_id"]), deleted + row["gone"]


async def _evidence(database: Database, before: datetime) -> int:
    last, forgotten = _AT_FIRST, 0
    while True:
        async with database.session(SECONDS) as connection:
            rows = await connection.fetch(_ENDED, before, *last, CHUNK)
        if not rows:
            return forgotten
        ended = sorted((row for row in rows if row["ended"]), key=_account)
        for account_id, group in groupby(ended, key=_account):
            keys = [row["address_key"] for row in group]
            work = partial(_forget, account_id=account_id, keys=keys, before=before)
            forgotten += await database.retried(work, seconds=SECONDS)
        last = (rows[-1]["address_key"], rows[-1]["account_id"])


def _account(row: Any) -> int:
    number: int = row["account_id"]
    return number


async def _forget(connection: Connection, account_id: int, keys: Sequence[bytes], before: datetime) -> int:
    """Erase the evidence about those addresses without new records; return how many.

    Runs under the lock of the account's ledger.
    """
    head = await ledger.lock(connection, account_id)
    still = [row["address_key"] for row in await connection.fetch(_STILL, before, account_id, keys) if row["ended"]]
    drafts = [
        ledger.erasure_entry(key, "retention", f"ended before {before:%Y-%m-%d}")
        for key in still
        if await ledger.erase_evidence(connection, account_id, key)
    ]
    await ledger.append(connection, account_id, head, drafts, datetime.now(UTC))
    await connection.execute(_FORGET, account_id, still)
    return len(still)
