"""A row of the table ``mailing``, with what is recorded about its list."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policy.accounts.mailing import Confirmation, Mailing, Sample

COLUMNS = """
m.id, m.account_id, m.name, m.topic, m.list, m.created_at, m.created_by, m.confirmed_at, m.confirmed_by,
m.confirmed_terms, m.sample, m.sampled, m.released_at, m.released_by, m.stopped_at, m.stopped_by, m.stopped,
m.stop_bounces, m.changed_at, s.origin, s.approved_at"""
FROM = "from mailing m left join list_source s on s.account_id = m.account_id and s.name = m.list"


@dataclass(frozen=True, slots=True)
class MailingRecord:
    """A mailing as operators see it: who did what with it, and when."""

    mailing: Mailing
    created_at: datetime
    created_by: str
    released_by: str | None
    stopped_at: datetime | None
    stopped_by: str | None
    stop_bounces: bool


def mailing_of(row: Any) -> Mailing:
    confirmed = row["confirmed_at"]
    return Mailing(
        id=row["id"],
        account_id=row["account_id"],
        name=row["name"],
        topic=row["topic"],
        list=row["list"],
        confirmation=Confirmation(confirmed, row["confirmed_by"], row["confirmed_terms"]) if confirmed else None,
        sample=Sample(row["sample"], row["sampled"], row["released_at"]) if row["sample"] is not None else None,
        origin=row["origin"],
        approved=row["approved_at"] is not None,
        stopped=row["stopped"],
    )


def record_of(row: Any) -> MailingRecord:
    return MailingRecord(
        mailing=mailing_of(row),
        created_at=row["created_at"],
        created_by=row["created_by"],
        released_by=row["released_by"],
        stopped_at=row["stopped_at"],
        stopped_by=row["stopped_by"],
        stop_bounces=row["stop_bounces"],
    )
