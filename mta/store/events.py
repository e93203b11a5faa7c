"""The story of a message, event by event, as the database keeps it.

It must never change or delete an event: that is ``retention``'s, by age.

*Limits.* Events of one message are ordered by time, which is that of the machine where they happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.store.database import Database


@dataclass(frozen=True, slots=True)
class Event:
    """``n``: the recipient's place in the envelope; None: the whole message."""

    at: datetime
    message_id: MessageId | None
    n: int | None
    kind: str
    data: Mapping[str, Any]


class Events:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, kind: str, message_id: MessageId | None, n: int | None, data: Mapping[str, Any]) -> None:
        """Write one event. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "insert into event (message_id, n, kind, data) values ($1, $2, $3, $4)",
                message_id, n, kind, orjson.dumps(data).decode(),
            )  # fmt: skip

    async def of_message(self, message_id: MessageId) -> list[Event]:
        """In order. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(
                "select at, message_id, n, kind, data from event where message_id = $1 order by at, id", message_id
            )
        return [Event(row["at"], row["message_id"], row["n"], row["kind"], orjson.loads(row["data"])) for row in rows]
