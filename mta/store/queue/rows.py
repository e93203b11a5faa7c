"""Lock messages while their queue rows are removed, and delete content that is no longer needed.

A transaction that removes rows of a message, and does not know whether they are its last, locks the message first:
of several such transactions each sees the changes of those before it, and the last one finds no row left.

Limitations: locks are taken in order of id; a deadlock with statements that lock rows in another way is possible, and
is
retried.
"""

from __future__ import annotations

from collections.abc import Iterable

from mta.mail.identity import MessageId
from mta.store.postgres.database import Connection

Row = tuple[MessageId, int]  # message_id, recipient_index: one recipient of one message

_LOCK = "select from message where id = any($1::uuid[]) order by id for no key update"

_CLEAR = """
delete from content c
where message_id = any($1::uuid[]) and not exists (select from queue q where q.message_id = c.message_id)"""


async def lock_messages(connection: Connection, ids: Iterable[MessageId]) -> None:
    """Wait for everybody else who takes away rows of these messages."""
    if wanted := sorted(ids):
        await connection.execute(_LOCK, wanted)


async def clear_content(connection: Connection, ids: Iterable[MessageId]) -> None:
    """Delete the content of those messages, locked before, that have no row left."""
    if wanted := sorted(ids):
        await connection.execute(_CLEAR, wanted)
