"""The queue of inbound reports: mail that was accepted for our own mailboxes and is not processed yet.

A worker claims reports for LEASE. What it does not finish by then is claimed by another one; only the last claim may
finish a report. Finishing is part of the transaction that applies its actions.

Invariants: An accepted report is not lost, is finished by one worker only, and is not retried forever: after MAX_TRIES
it stays until retention deletes it, and is counted (``failed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mta.mail.address import Address
from mta.mail.message import IPAddress
from mta.mail.reply import sanitise
from mta.store.postgres.database import Connection, Database
from mta.store.results.report_actions import InboundReport

MAX_TRIES = 8
LEASE = timedelta(minutes=2)  # for one try
KEPT = timedelta(days=30)  # what could not be processed
MAX_TEXT = 300  # characters kept of an error or a name

_PUT = """
insert into inbound_report (sender, recipients, client, hello, content) values ($1, $2, $3, $4, $5) returning id"""

_CLAIM = """
update inbound_report r set tries = tries + 1, due_at = now() + $2
where id = any(array(
    select id from inbound_report where due_at <= now() and tries < $3 order by due_at limit $1 for update skip locked
))
returning id, at, sender, recipients, client, hello, content, tries"""

_FINISH = "delete from inbound_report where id = $1 and tries = $2"

_POSTPONE = "update inbound_report set due_at = now() + $3, error = $4 where id = $1 and tries = $2"

_COUNT = """
select count(*) filter (where tries < $1 or due_at > now()) as waiting, count(*) as all from inbound_report"""

_OLD = "delete from inbound_report where at < now() - $1::interval and tries >= $2"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Reports in the queue. ``failed``: given up after MAX_TRIES."""

    waiting: int
    failed: int


class ReportReclaimed(Exception):
    """Another worker has claimed the report meanwhile."""


class ReportQueue:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, sender: Address | None, recipients: Sequence[Address], client: IPAddress, hello: str, content: bytes
    ) -> int:
        """Add a report; return its number once it is committed. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            number: int = await connection.fetchval(
                _PUT,
                None if sender is None else str(sender),
                [str(address) for address in recipients],
                str(client),
                sanitise(hello, MAX_TEXT),
                content,
            )
        return number

    async def claim(self, limit: int) -> list[InboundReport]:
        """Claim reports that are due, for LEASE. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_CLAIM, limit, LEASE, MAX_TRIES)
        return [
            InboundReport(
                row["id"],
                row["at"],
                row["sender"],
                tuple(_address(text) for text in row["recipients"]),
                row["client"],
                row["hello"],
                row["content"],
                row["tries"],
            )
            for row in sorted(rows, key=lambda row: int(row["id"]))
        ]

    async def drop(self, report: InboundReport) -> None:
        """Remove a report without any action. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FINISH, report.id, report.tries)

    async def postpone(self, report: InboundReport, error: str, wait: timedelta) -> None:
        """Retry a report later. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_POSTPONE, report.id, report.tries, wait, sanitise(error, MAX_TEXT))

    async def backlog(self) -> Backlog:
        """Count the reports in the queue. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_COUNT, MAX_TRIES)
        assert row is not None
        return Backlog(row["waiting"], row["all"] - row["waiting"])

    async def sweep(self) -> None:
        """Delete failed reports after KEPT. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_OLD, KEPT, MAX_TRIES)


async def finish(connection: Connection, report: InboundReport) -> None:
    """Remove a report, within the caller's transaction. Raises ReportReclaimed."""
    if await connection.execute(_FINISH, report.id, report.tries) != "DELETE 1":
        raise ReportReclaimed(f"report {report.id}, try {report.tries}")


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)
