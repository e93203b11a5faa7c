"""Events for accounts: written by the transactions in which they happen, read in order by the senders of webhooks.

Events of messages and addresses are written by the triggers of ``postgres/schema/0005_journal.sql`` from what the
transaction records; ``note`` writes the others. Ids are drawn before their transactions commit, so a row may appear
behind rows already read. An id is safe once every transaction that may have drawn a lower one has ended. Writers have a
transaction number when they draw an id; the reader takes the last id, then a transaction number of its own, the fence:
once no transaction up to the fence is running, nothing can appear up to that id.

Invariants: only events of accounts with a webhook are written. None is skipped: nothing is read beyond the watermark,
and nothing is deleted that a webhook has not taken, until it is very old.

Limitations: an account that adds its first webhook gets events from then on. For a message whose commit was in doubt
and that is removed later, ``accepted`` may be sent although the client got no 250. A long transaction keeps the
watermark where it is, whatever it does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.observe.account_events import AccountEvent
from mta.store.postgres.database import Connection, Database

_MOST = 60  # marks waiting; while there are so many no new one is needed


class CommitWatermark:
    """Pure: it is told what the database says."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque()  # last id, fence
        self.reached = 0

    @property
    def newest(self) -> int:
        """The last id that was marked."""
        return self._marks[-1][0] if self._marks else self.reached

    @property
    def is_full(self) -> bool:
        return len(self._marks) >= _MOST

    def mark(self, last: int, fence: int) -> None:
        """``last``: the highest id drawn so far; ``fence``: a transaction number taken after that was read."""
        self._marks.append((last, fence))

    def move(self, oldest: int) -> int:
        """``oldest``: no transaction with a lower number is running. The id up to which nothing new can appear."""
        while self._marks and self._marks[0][1] < oldest:
            self.reached = max(self.reached, self._marks.popleft()[0])
        return self.reached


PAGE = 2000  # rows looked at in one statement of the sweep
SECONDS = 60.0

_NOTE = """
insert into outbox (account_id, message_id, recipient_index, kind, data)
select $1, $2, $3, $4, $5 where exists (select from webhook where account_id = $1)"""

_LAST = "select case when is_called then last_value else 0 end from outbox_id_seq"
_FENCE = "select pg_current_xact_id()::text::bigint"
# Of this database alone: what runs in another one of the same server cannot write here. Numbers in these views lack
# their upper half; none is 2^32 behind the next one.
_OLDEST = """
select coalesce(min(one.next - (one.next - number) % 4294967296), max(one.next))
from (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next) one left join (
    select backend_xid::text::bigint as number from pg_stat_activity
    where datname = current_database() and backend_xid is not null
    union all
    select transaction::text::bigint from pg_prepared_xacts where database = current_database()
) running on true"""

_EVENTS = """
select
    o.id, o.at, o.kind, o.message_id, o.data, m.record -> 'recipients' ->> o.recipient_index as recipient,
    m.record ->> 'mailing' as mailing, m.record ->> 'topic' as topic, m.record ->> 'stream' as stream
from outbox o left join message m on m.id = o.message_id
where o.account_id = $1 and o.id <= $2 and (cardinality($3::text[]) = 0 or o.kind = any($3))"""
_READ = _EVENTS + " and o.id > $5 order by o.id limit $4"
_LATEST = _EVENTS + " order by o.id desc limit $4"

_NEWEST = "select coalesce(max(id), 0) from outbox where account_id = $1"

_FIRST_AT = """
select coalesce(min(id) - 1, (select max(id) from outbox where account_id = $1), 0)
from outbox where account_id = $1 and at >= $2"""

# Page by page through the primary key. $2, $3: what all have taken goes before the first, everything before the second.
_SWEEP = """
with page as (
    select id, at, account_id from outbox where id > $1 order by id limit $4
),
gone as (
    delete from outbox o using page p
    where o.id = p.id and (p.at < $3 or p.at < $2 and not exists (
        select from webhook w where w.account_id = p.account_id and w.cursor < p.id
    ))
    returning 1
)
select max(id) as last, max(at) as at, (select count(*) from gone) as gone from page"""


async def note(
    connection: Connection,
    account_id: int,
    kind: str,
    data: Mapping[str, Any],
    *,
    message_id: MessageId | None = None,
    recipient_index: int | None = None,
) -> None:
    """Tell the account's webhooks that something happened, if it has any. Within the caller's transaction."""
    await connection.execute(_NOTE, account_id, message_id, recipient_index, kind, orjson.dumps(data).decode())


class Outbox:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watermark = CommitWatermark()
        self._looking = asyncio.Lock()

    async def watermark(self) -> int:
        """The id up to which every event is there that ever will be. Raises StoreUnavailable."""
        async with self._looking, self._database.session() as connection:
            last: int = await connection.fetchval(_LAST)
            if last != self._watermark.newest and not self._watermark.is_full:
                # A statement of its own: its number must be taken after the id was read.
                self._watermark.mark(last, await connection.fetchval(_FENCE))
            oldest: int = await connection.fetchval(_OLDEST)
            return self._watermark.move(oldest)

    async def read(
        self, account_id: int, after: int, upto: int, kinds: Sequence[str] = (), limit: int = 500
    ) -> list[AccountEvent]:
        """The account's first events with ids from ``after`` (not included) to ``upto`` (included), in order.

        Raises StoreUnavailable.
        """
        async with self._database.session() as connection:
            rows = await connection.fetch(_READ, account_id, upto, list(kinds), limit, after)
        return [_occurrence(row) for row in rows]

    async def latest(
        self, account_id: int, upto: int, kinds: Sequence[str] = (), limit: int = 50
    ) -> list[AccountEvent]:
        """The account's last events with ids to ``upto`` (included), the last one first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LATEST, account_id, upto, list(kinds), limit)
        return [_occurrence(row) for row in rows]

    async def newest(self, account_id: int) -> int:
        """The id of the account's newest event, whatever is still to come before it. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            found: int = await connection.fetchval(_NEWEST, account_id)
        return found

    async def before(self, account_id: int, at: datetime) -> int:
        """The id behind which the account's events of ``at`` and later are. Raises StoreUnavailable."""
        async with self._database.session(SECONDS) as connection:
            found: int = await connection.fetchval(_FIRST_AT, account_id, at)
        return found


async def sweep(database: Database, taken_before: datetime, before: datetime) -> int:
    """Delete what all webhooks of its account have taken and is older than ``taken_before``, and all that is older
    than ``before``; how many. Raises StoreUnavailable."""
    last, deleted = 0, 0
    while True:
        async with database.session(SECONDS) as connection:
            row = await connection.fetchrow(_SWEEP, last, taken_before, before, PAGE)
        assert row is not None
        if row["last"] is None:
            return deleted
        last, deleted = row["last"], deleted + int(row["gone"])
        if row["at"] >= max(taken_before, before):
            return deleted


def _occurrence(row: Any) -> AccountEvent:
    return AccountEvent(
        row["id"],
        row["at"],
        row["kind"],
        row["message_id"],
        row["recipient"],
        row["mailing"],
        row["topic"],
        row["stream"],
        orjson.loads(row["data"]),
    )
