"""Events of messages, in order, as the database keeps them.

Invariants: an event is never changed or deleted here; ``retention`` deletes by age.

Limitations: events of one message are ordered by time, which is the clock of the machine where they happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.store.journal.message_terms import TERMS, term
from mta.store.postgres.database import Database

HEARD = 2000  # messages whose replies are looked through
LOOKED_THROUGH = 100_000  # newest messages, for those of an account


@dataclass(frozen=True, slots=True)
class Event:
    """``recipient_index``: the recipient's place in the envelope; None: the whole message."""

    at: datetime
    message_id: MessageId | None
    recipient_index: int | None
    kind: str
    data: Mapping[str, Any]


# Ids are ordered by time, and the index on them is read from its end: the newest messages' events, whatever the size.
_TROUBLES = """
select e.at, e.message_id, e.recipient_index, e.kind, e.data,
    m.record -> 'recipients' ->> e.recipient_index as recipient
from {events}
where e.kind in ('deferred', 'failed', 'expired') order by e.at desc limit $1"""
_OF_ALL = """(
    select * from event where message_id is not null order by message_id desc limit 1000
) e join message m on m.id = e.message_id"""
# No index has the messages of an account: it would cost each message. An account's newest are looked for among many.
_OF_ACCOUNT = f"""(
    select id, record from (
        select id, account_id, record from message order by id desc limit {LOOKED_THROUGH}
    ) newest where account_id = $2 order by id desc limit 1000
) m join event e on e.message_id = m.id"""  # noqa: S608 - our own text


# What messages heard from a domain: the newest of all, or the newest that went there. How many is part of the text: of
# a parameter the planner thinks that it is a tenth of all, and reads every event.
_REPLIES = """
select e.at, e.message_id, e.recipient_index, e.kind, e.data
from {messages} m join event e on e.message_id = m.id
where e.kind in ('delivered', 'deferred', 'failed', 'expired')
    and split_part(m.record -> 'recipients' ->> e.recipient_index, '@', 2) = any($1::text[])
order by e.at desc limit $2"""
_NEWEST = f"(select id, record from message order by id desc limit {HEARD})"  # noqa: S608 - our own text
_OF_DOMAINS = f"""(
    select id, record from message where {TERMS} @@ $3::text::tsquery order by id desc limit {HEARD}
)"""  # noqa: S608 - our own text


class Events:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, kind: str, message_id: MessageId | None, recipient_index: int | None, data: Mapping[str, Any]
    ) -> None:
        """Write one event. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "insert into event (message_id, recipient_index, kind, data) values ($1, $2, $3, $4)",
                message_id, recipient_index, kind, orjson.dumps(data).decode(),
            )  # fmt: skip

    async def troubles(self, limit: int, account_id: int | None = None) -> list[tuple[str, Event]]:
        """Return what went wrong with the newest messages, of all or of an account: the recipient and the event.

        Raises StoreUnavailable.
        """
        events, of = (_OF_ALL, ()) if account_id is None else (_OF_ACCOUNT, (account_id,))
        async with self._database.session() as connection:
            rows = await connection.fetch(_TROUBLES.format(events=events), limit, *of)
        return [(row["recipient"], _event(row)) for row in rows]

    async def replies_of(self, domains: Sequence[str], limit: int) -> list[Event]:
        """The newest replies about recipients in these domains, the newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            heard = await connection.fetch(_REPLIES.format(messages=_NEWEST), list(domains), limit)
            if len(heard) < limit and domains:
                terms = " | ".join(term(f"@{each}") for each in domains)
                heard = await connection.fetch(_REPLIES.format(messages=_OF_DOMAINS), list(domains), limit, terms)
        return [_event(row) for row in heard]

    async def of_message(self, message_id: MessageId) -> list[Event]:
        """In order. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(
                "select at, message_id, recipient_index, kind, data from event where message_id = $1 order by at, id",
                message_id,
            )
        return [_event(row) for row in rows]


def _event(row: Any) -> Event:
    return Event(row["at"], row["message_id"], row["recipient_index"], row["kind"], orjson.loads(row["data"]))
