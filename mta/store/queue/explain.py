"""Everything known about one message, to explain what became of it.

Limitations: messages whose record is older than ``retention.messages`` are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.mail.identity import MessageId
from mta.store.journal.events import Event, Events
from mta.store.journal.record_details import record_of
from mta.store.postgres.database import Database
from mta.store.queue.queue import Queue, QueueEntry
from policy.base import Finding

_RECORD = """
select m.account_id, a.name as account, m.sender, m.size, m.received_at, m.record, m.details
from message m left join account a on a.id = m.account_id where m.id = $1
union all
select r.account_id, a.name, r.record ->> 'sender', (r.record ->> 'size')::int, r.received_at, r.record, null
from rejection r left join account a on a.id = r.account_id where r.id = $1"""


@dataclass(frozen=True, slots=True)
class Story:
    """A message's record, what became of it so far, and what is still to come.

    ``recipients``: their addresses, at the places (``n``) by which ``events`` and ``queued`` name them. ``envelope``:
    body, smtputf8, ret, envid. ``origin``: account, credential, client, hello, session, protocol, tls. ``summary``:
    subject, from, message-id as they came. ``refused``: our answer, if the message was not taken; then it has no
    expiry, and nothing happened to it since.
    """

    message_id: MessageId
    account_id: int
    account: str | None
    sender: str | None
    recipients: Sequence[str]
    size: int
    received_at: datetime
    expires_at: datetime | None
    refused: str | None
    profile: str | None
    stream: str | None
    mailing: str | None
    topic: str | None
    envelope: Mapping[str, Any]
    origin: Mapping[str, Any]
    summary: Mapping[str, str]
    findings: Sequence[Finding]
    events: Sequence[Event]
    queued: Sequence[QueueEntry]


class Explain:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def message(self, message_id: MessageId) -> Story | None:
        """The story of a message; None if there is no record of it. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_RECORD, message_id)
        if row is None:
            return None
        record = record_of(row)
        return Story(
            message_id=message_id,
            account_id=row["account_id"],
            account=row["account"],
            sender=row["sender"],
            recipients=record["recipients"],
            size=row["size"],
            received_at=row["received_at"],
            expires_at=datetime.fromisoformat(record["expires_at"]) if "expires_at" in record else None,
            refused=record.get("reply"),
            profile=record.get("profile"),
            stream=record.get("stream"),
            mailing=record.get("mailing"),
            topic=record.get("topic"),
            envelope=record["envelope"],
            origin=record["origin"],
            summary=record["summary"],
            findings=[Finding(*finding) for finding in record["findings"]],
            events=await Events(self._database).of_message(message_id),
            queued=await Queue(self._database).show(message_id),
        )
