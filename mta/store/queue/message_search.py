"""Search messages by sender, recipient, subject or reply, queued or not.

What a recipient or sender begins with is found by an index (``message_terms``) over all messages; a part of a subject
or reply by looking at messages from the newest back, some thousands at a time: ``MessagesFound.further`` says where to
go on.

Invariants: a search costs mail nothing: it stops at its limit, its time, or after what it was told to look through.
Limitations: the messages of a recipient or sender that has very many, none of them among the newest, are all read: a
search that takes more than TIMEOUT is given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.mail.identity import MessageId
from mta.store.journal.message_terms import TERMS, term
from mta.store.postgres.database import Database
from mta.store.queue.queue import SECONDS

LOOKED_THROUGH = 20_000  # messages in one search
TIMEOUT = "10s"

_NEWEST = """
    select * from message where id < $1 and ($2::bigint is null or account_id = $2) order by id desc limit $8"""

_BY_TERMS = f"""
    select * from message
    where {TERMS} @@ lower($8::text)::tsquery and id < $1 and ($2::bigint is null or account_id = $2)"""  # noqa: S608

# ``$6``: what is looked for in the replies, in lower case
_SEARCH = """
with looked as materialized ({looked})
select m.id, m.account_id, a.name as account, m.sender, m.recipients, m.size, m.received_at,
    m.record ->> 'mailing' as mailing, m.record -> 'summary' ->> 'subject' as subject,
    array(select jsonb_array_elements_text(m.record -> 'recipients') limit 3) as first,
    (select e.kind from event e where e.message_id = m.id and e.recipient_index is not null
     order by e.at desc, e.id desc limit 1) as last,
    exists (select from queue q where q.message_id = m.id) as queued
from looked m
left join account a on a.id = m.account_id
where ($3::text is null or starts_with(lower(coalesce(m.sender, '<>')), lower($3)))
    and ($4::text is null or exists (
        select from jsonb_array_elements_text(m.record -> 'recipients') one
        where starts_with(lower(one), lower($4))
            or starts_with('@' || split_part(lower(one), '@', -1), '@' || ltrim(lower($4), '@'))
    ))
    and ($5::text is null or position(lower($5) in lower(m.record -> 'summary' ->> 'subject')) > 0)
    and ($6::text is null or exists (
        select from event e where e.message_id = m.id
            and position($6 in lower(concat_ws(' ', e.data ->> 'code', e.data ->> 'status', e.data ->> 'text'))) > 0
    ))
order by m.id desc limit $7"""

_FURTHER = """
select id from message where id < $1 and ($2::bigint is null or account_id = $2) order by id desc offset $3 limit 1"""


@dataclass(frozen=True, slots=True)
class MessageQuery:
    """What is looked for: messages that fit everything given. ``sender``, ``recipient``: what the address begins with,
    or the domain of the recipient; ``reply``, ``subject``: a part of it."""

    sender: str | None = None
    recipient: str | None = None
    subject: str | None = None
    reply: str | None = None

    @property
    def terms(self) -> str:
        """The query of the index, empty if neither sender nor recipient is given."""
        parts = []
        if self.recipient:
            local, at, domain = self.recipient.rpartition("@")
            if not at:
                parts.append(f"({term(domain)}:* | {term('@' + domain)}:*)")
            else:
                # An "@" in a local part begins a term of its own: the domain alone finds it.
                parts += [term(local)] if local and "@" not in local and '"' not in local else []
                parts.append(f"{term('@' + domain)}:*")
        if self.sender:
            parts.append(term("<") if self.sender == "<>" else f"{term('<' + self.sender)}:*")
        return " & ".join(parts)


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


@dataclass(frozen=True, slots=True)
class MessagesFound:
    """The newest that fit. ``further``: the message before which to go on looking, None if all were looked through, or
    there are as many as were wanted."""

    messages: Sequence[FoundMessage]
    further: MessageId | None = None


class MessageSearch:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, query: MessageQuery, before: MessageId, *, account_id: int | None = None, limit: int = 50
    ) -> MessagesFound:
        """Return the newest messages before ``before`` that fit. Raises StoreUnavailable."""
        reply = query.reply.lower() if query.reply else None
        given = (before, account_id, query.sender, query.recipient, query.subject, reply, limit)
        async with self._database.session(SECONDS) as connection, connection.transaction(readonly=True):
            await connection.execute(f"set local statement_timeout = '{TIMEOUT}'")
            # Most that is looked for often is among the newest, where no index has to gather and sort it.
            found = await connection.fetch(_SEARCH.format(looked=_NEWEST), *given, LOOKED_THROUGH)
            further = None
            if len(found) < limit:
                further = await connection.fetchval(_FURTHER, before, account_id, LOOKED_THROUGH - 1)
            if further and query.terms:
                found = await connection.fetch(_SEARCH.format(looked=_BY_TERMS), *given, query.terms)
                further = None
        return MessagesFound([_found(row) for row in found], further)


def _found(row: Any) -> FoundMessage:
    return FoundMessage(**{**row, "first": tuple(row["first"])})
