"""Delete old records in small transactions, so that nothing waits for it.

Invariants: nothing of a message that is still queued is deleted.

Limitations: age is read from the message id, that is from the clock of the machine that accepted the message.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from mta.mail.identity import MessageId
from mta.store.postgres.database import Database, row_count
from mta.store.queue import copies, egress_limits

CHUNK = 2000  # messages in one transaction
SECONDS = 60.0  # for one transaction

_OLD = """
with old as (
    select id from message m
    where id < $1 and not exists (select from queue q where q.message_id = m.id)
    order by id limit $2
),
events as (delete from event where message_id = any(array(select id from old)))
delete from message where id = any(array(select id from old))"""

_OLD_OTHER = """
delete from event where ctid = any(array(
    select ctid from event where message_id is null and at < $1 order by at limit $2
))"""

_ORPHANS = """
with looked as (
    select distinct message_id from (
        select message_id from content_kept where message_id > $1 order by message_id limit $2
    ) piece
),
cleared as (
    delete from content_kept c
    where message_id = any(array(
        select message_id from looked l where not exists (select from queue q where q.message_id = l.message_id)
    ))
    returning message_id
)
select (select max(message_id::text)::uuid from looked) as last,
       (select count(distinct message_id) from cleared) as orphans"""


# A hold that was placed while its recipient was deleted from the queue.
_LEFT_BEHIND = """
delete from hold where ctid = any(array(
    select h.ctid from hold h
    where h.held_at < now() - interval '1 hour' and not exists (
        select from queue q where q.message_id = h.message_id and q.recipient_index = h.recipient_index
    )
    limit $1
))"""


@dataclass(frozen=True, slots=True)
class Swept:
    """How much was deleted. ``orphans``: messages whose content was left behind; there should be none."""

    messages: int
    orphans: int


async def sweep(database: Database, now: datetime, keep: float) -> Swept:
    """Delete records and events older than ``keep`` seconds, content without queue rows, and unused limits."""
    before = now - timedelta(seconds=keep)
    messages = orphans = 0
    while deleted := await _execute(database, _OLD, first_id_of(before)):
        messages += deleted
    for statement in (_OLD_OTHER, copies.FORGET):
        while await _execute(database, statement, before):
            pass
    last: MessageId | None = uuid.UUID(int=0)
    while last is not None:
        async with database.session(SECONDS) as connection:
            row = await connection.fetchrow(_ORPHANS, last, CHUNK)
        assert row is not None
        last, orphans = row["last"], orphans + row["orphans"]
    async with database.session(SECONDS) as connection:
        await connection.execute(_LEFT_BEHIND, CHUNK)
        await connection.execute(egress_limits.FORGET)
    return Swept(messages, orphans)


def first_id_of(at: datetime) -> MessageId:
    """The smallest message id of that millisecond (RFC 9562 5.7)."""
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80)


async def _execute(database: Database, statement: str, before: object) -> int:
    async with database.session(SECONDS) as connection:
        status: str = await connection.execute(statement, before, CHUNK)
    return row_count(status)
