"""Search messages by sender, recipient, subject or reply, queued or not.

Invariants: a search reads messages from the newest back, and stops at its limit, its time, or what it was told to look
through: it costs mail nothing.
Limitations: there is no index by address, so only the newest messages are looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.mail.identity import MessageId
from mta.store.postgres.database import Database
from mta.store.queue.queue import SECONDS

LOOKED_THROUGH = 200_000  # messages

# ``$6``: what is looked for in the replies, in lower case
_SEARCH = """
select m.id, m.account_id, a.name as account, m.sender, m.recipients, m.size, m.received_at,
    m.record ->> 'mailing' as mailing, m.record -> 'summary' ->> 'subject' as subject,
    array(select jsonb_array_elements_text(m.record -> 'recipients') limit 3) as first,
    (select e.kind from event e where e.message_id = m.id and e.recipient_index is not null
     order by e.at desc, e.id desc limit 1) as last,
    exists (select from queue q where q.message_id = m.id) as queued
from (
    select * from message where id < $1 and ($2::bigint is null or account_id = $2)
    order by id desc limit $8
) m
left join account a on a.id = m.account_id
where ($3::text is null or lower(coalesce(m.sender, '<>')) = lower($3))
    and ($4::text is null or exists (
        select from jsonb_array_elements_text(m.record -> 'recipients') one where lower(one) = lower($4)
    ))
    and ($5::text is null or position(lower($5) in lower(m.record -> 'summary' ->> 'subject')) > 0)
    and ($6::text is null or exists (
        select from event e where e.message_id = m.id
            and position($6 in lower(concat_ws(' ', e.data ->> 'code', e.data ->> 'status', e.data ->> 'text'))) > 0
    ))
order by m.id desc limit $7"""


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """What is looked for: messages that fit everything given. ``reply``, ``subject``: a part of it."""

    sender: str | None = None
    recipient: str | None = None
    subject: str | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """``first``: some of its recipients; ``last``: the kind of the last event of any of them."""

    id: MessageId
    account_id: int
    account: str | None
    sender: str | None
    recipients: int
    size: int
    received_at: datetime
    mailing: str | None
    subject: str | None
    first: tuple[str, ...]
    last: str | None
    queued: bool


class MessageSearch:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, query: MessageQuery, before: MessageId, *, account_id: int | None = None, limit: int = 50
    ) -> Sequence[FoundMessage]:
        """Return the newest messages before ``before`` that fit. Raises StoreUnavailable."""
        reply = query.reply.lower() if query.reply else None
        async with self._database.session(SECONDS) as connection, connection.transaction(readonly=True):
            await connection.execute("set local statement_timeout = '10s'")
            rows = await connection.fetch(
                _SEARCH, before, account_id, query.sender, query.recipient, query.subject, reply, limit, LOOKED_THROUGH
            )
        return [_found(row) for row in rows]


def _found(row: Any) -> FoundMessage:
    return FoundMessage(**{**row, "first": tuple(row["first"])})
