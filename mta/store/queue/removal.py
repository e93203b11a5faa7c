"""Remove recipients from the queue: the copies that a suppression covers, and content that is no longer needed.

A transaction that removes rows of a message, and does not know that they are its last, first locks the message: of
several that do so at the same time each sees what the ones before it have done, and the last one finds no row left. A
suppression has a scope: an account or all of them; and all mail (topic ""), all marketing (``*``), or marketing about
one topic.

Invariants: a copy outside the scope of the suppression is never removed.

Limitations: a delivery on the wire is not stopped; the outcome of its attempt is recorded. Locks are taken in the order
of ids; a deadlock with statements that lock rows in another order is possible, and is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mta.mail.identity import MessageId
from mta.store.postgres.database import Connection
from mta.store.queue import holds

Row = tuple[MessageId, int]  # message_id, recipient_index: one recipient of one message

_LOCK = "select from message where id = any($1::uuid[]) order by id for no key update"

_CLEAR = """
delete from content_kept c
where message_id = any($1::uuid[]) and not exists (select from queue q where q.message_id = c.message_id)"""


async def lock_messages(connection: Connection, ids: Iterable[MessageId]) -> None:
    """Wait for everybody else who takes away rows of these messages."""
    if wanted := sorted(ids):
        await connection.execute(_LOCK, wanted)


async def clear_content(connection: Connection, ids: Iterable[MessageId]) -> None:
    """Delete the content of those messages, locked before, that have no row left."""
    if wanted := sorted(ids):
        await connection.execute(_CLEAR, wanted)


CHANNEL = "suppressed"
GLOBAL = 0  # account_id of a suppression that holds for everybody

SuppressionScope = tuple[bytes, int, str]  # address_key, account_id, topic

_PAYLOAD = 200  # keys in one notification, which may have 8000 octets

# One probe of the index for each address: the planner must not think of reading the whole queue, whatever it knows.
_FOUND = """
unnest($1::bytea[], $2::bigint[], $3::text[]{more}) as one (address_key, account_id, topic{names})
cross join lateral (
    select message_id, recipient_index from queue q
    where q.address_key = one.address_key and (one.account_id = 0 or q.account_id = one.account_id)
        and (one.topic = '' or q.stream = 'marketing' and (one.topic = '*' or q.topic = one.topic))
    offset 0
) copy"""

_COPIES = f"select distinct message_id from {_FOUND.format(more='', names='')}"  # noqa: S608 - our own text

_PULL = f"""
with
    found as materialized (
        select message_id, recipient_index, reason, rule
        from {_FOUND.format(more=", $4::text[], $5::text[]", names=", reason, rule")}
        where message_id = any($6::uuid[])
    ),
    gone as (
        delete from queue q using found f where q.message_id = f.message_id and q.recipient_index = f.recipient_index
            and q.message_id = any($6::uuid[])
        returning q.message_id, q.recipient_index, q.holds, f.reason, f.rule
    ),
    freed as ({holds.OF_DELETED})
insert into event (message_id, recipient_index, kind, data)
select message_id, recipient_index, 'dropped', jsonb_build_object('reason', reason, 'rule', rule, 'pulled', true)
from gone
returning id"""  # noqa: S608 - our own text


async def copies(connection: Connection, scopes: Sequence[SuppressionScope]) -> set[MessageId]:
    """The messages that have queued copies within these scopes. The caller locks them before ``remove_copies``."""
    if not scopes:
        return set()
    rows = await connection.fetch(_COPIES, *zip(*scopes, strict=True))
    return {row["message_id"] for row in rows}


async def remove_copies(
    connection: Connection,
    scopes: Sequence[SuppressionScope],
    reasons: Sequence[str],
    rules: Sequence[str],
    locked: Iterable[MessageId],
) -> int:
    """Take the copies in scope out, within the messages in ``locked``; how many. ``reasons`` and ``rules``: for the
    event of each scope. The caller deletes the content of messages that have no row left."""
    wanted = sorted(locked)
    if not scopes or not wanted:
        return 0
    return len(await connection.fetch(_PULL, *zip(*scopes, strict=True), reasons, rules, wanted))


async def notify_workers(connection: Connection, keys: Iterable[bytes]) -> None:
    """Tell all workers, once this is committed, that these addresses were suppressed."""
    told = sorted(set(keys))
    for first in range(0, len(told), _PAYLOAD):
        payload = ",".join(key.hex() for key in told[first : first + _PAYLOAD])
        await connection.execute("select pg_notify($1, $2)", CHANNEL, payload)
