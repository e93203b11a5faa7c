"""What several changes to the queue share: whose turn it is with a message, and its content when nobody needs it.

A transaction that takes rows of a message away, and does not know that they are its last, first locks the message:
of several that do so at once, each sees what the ones before it have done, and the last one finds no row left.

*Limits.* Locks are taken in order of id; a deadlock with statements that lock rows by other ways is possible, and is
tried again.
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
