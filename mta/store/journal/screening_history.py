"""Recently screened messages, accepted and rejected: for trying a changed profile before it is loaded.

Limitations: reaches back as far as ``retention.messages`` and ``retention.rejections``. The content of an accepted
message exists only while part of it is queued; that of a rejected one is never kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.store.postgres.database import Database
from policy.base import Finding

LONG = 60.0  # seconds for one look

_LAST = """
(
    select m.id, m.account_id, m.sender, m.received_at, m.record, false as refused,
        exists (select from queue q where q.message_id = m.id) as queued
    from message m where $1::bigint is null or m.account_id = $1 order by m.id desc limit $2
)
union all
(
    select r.id, r.account_id, r.record ->> 'sender', r.received_at, r.record, true, false
    from rejection r where $1::bigint is null or r.account_id = $1 order by r.id desc limit $2
)
order by id desc limit $2"""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One message's record. ``reply``: our answer, if it was refused. ``profile``: by which it was judged, "" if that
    was not recorded; ``digest`` what that said then. ``queued``: whether its content is still here."""

    message_id: MessageId
    account_id: int
    received_at: datetime
    sender: str | None
    recipients: tuple[str, ...]
    findings: tuple[Finding, ...]
    stream: str | None
    mailing: str | None
    topic: str | None
    profile: str
    digest: str
    reply: str | None
    queued: bool


class ScreeningHistory:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last(self, count: int, account_id: int | None = None) -> list[Judgement]:
        """The newest ``count``, of one account or of all, newest first. Raises StoreUnavailable."""
        async with self._database.session(LONG) as connection:
            rows = await connection.fetch(_LAST, account_id, count)
        return [_judgement(row) for row in rows]


def _judgement(row: Any) -> Judgement:
    record = orjson.loads(row["record"])
    profile, _, digest = (record.get("profile") or "").partition(" ")
    return Judgement(
        message_id=row["id"],
        account_id=row["account_id"],
        received_at=row["received_at"],
        sender=row["sender"],
        recipients=tuple(record["recipients"]),
        findings=tuple(Finding(*finding) for finding in record["findings"]),
        stream=record.get("stream"),
        mailing=record.get("mailing"),
        topic=record.get("topic"),
        profile=profile,
        digest=digest,
        reply=record.get("reply"),
        queued=row["queued"],
    )
