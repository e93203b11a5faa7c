"""Listings of our addresses and domains on blocklists: seen, confirmed, ended.

Invariants: a listing counts only when it is confirmed. A listing of an address that all accounts send from is not
charged to an account.

Limitations: a listing between two checks is not seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.reply import sanitise
from mta.store.journal import outbox
from mta.store.postgres.database import Connection, Database
from mta.store.reputation.case_records import open_case
from policy.reputation.blocklist import KnownListing
from policy.reputation.complaint import Complaint, ComplaintCause, ComplaintCauseKind, Source

CHANNEL = "listings"
LONGEST = 500  # characters of an answer kept

_COLUMNS = "list, subject, seen_at, confirmed_at, ended_at, answer, case_id"
_LIST = f"select {_COLUMNS} from blocklist_listing where ($1::bool or ended_at is null) order by seen_at desc limit $2"  # noqa: S608
_RESTING = """
select distinct subject from blocklist_listing
where confirmed_at is not null and ended_at is null and list = any($1::text[])"""

_SEEN = "insert into blocklist_listing (list, subject, answer) values ($1, $2, $3) on conflict do nothing"
_CONFIRM = """
update blocklist_listing set confirmed_at = now(), answer = $3
where list = $1 and subject = $2 and ended_at is null and confirmed_at is null returning seen_at"""
_END = """
update blocklist_listing set ended_at = now() where list = $1 and subject = $2 and ended_at is null
returning confirmed_at"""

_OWNER = "select account_id from sender_domain where domain = $1 and verified_at is not null"
_DOMAINS = """
select d.domain from sender_domain d join account a on a.id = d.account_id
where d.verified_at is not null and a.status <> 'terminated' order by d.domain"""
_SAY = "insert into event (kind, data) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing. ``subject``: our address or domain. ``answer``: the answer of the blocklist, with its reason."""

    list: str
    subject: str
    seen_at: datetime
    confirmed_at: datetime | None
    ended_at: datetime | None
    answer: str
    case_id: int | None

    @property
    def known(self) -> KnownListing:
        return KnownListing(self.seen_at, self.confirmed_at)


class BlocklistListings:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, *, ended: bool = False, limit: int = 1000) -> Sequence[Listing]:
        """Return the listings that have not ended, or all, newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_listing(row) for row in await connection.fetch(_LIST, ended, limit)]

    async def resting(self, lists: Collection[str]) -> frozenset[str]:
        """Return the subjects with a confirmed listing on one of these lists. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return frozenset(row["subject"] for row in await connection.fetch(_RESTING, list(lists)))

    async def domains(self) -> Sequence[str]:
        """Return the verified sender domains of accounts that may still send. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [row["domain"] for row in await connection.fetch(_DOMAINS)]

    async def seen(self, name: str, subject: str, answer: str) -> None:
        """Record a new listing, not confirmed yet. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_SEEN, name, subject, sanitise(answer, LONGEST))

    async def confirm(self, name: str, subject: str, answer: str) -> bool:
        """Confirm a listing; return whether it was not confirmed before. Raises StoreUnavailable."""
        answer = sanitise(answer, LONGEST)

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_CONFIRM, name, subject, answer) is None:
                return False
            data = {"list": name, "subject": subject, "answer": answer}
            await self._tell(connection, "blocklisted", data)
            owner = await connection.fetchval(_OWNER, subject)
            if owner is not None:
                summary = f"{subject} is on the blocklist {name}: {answer}"
                cause = ComplaintCause(ComplaintCauseKind.BLOCKLISTED, data)
                case_id = await open_case(connection, Complaint(owner, Source.BLOCKLIST, summary, cause=cause))
                await connection.execute(
                    "update blocklist_listing set case_id = $3 where list = $1 and subject = $2 and ended_at is null",
                    name,
                    subject,
                    case_id,
                )
                await outbox.note(connection, owner, "blocklisted", data | {"case": f"C-{case_id}"})
            return True

        return await self._database.retried(work)

    async def end(self, name: str, subject: str, why: str = "no longer listed") -> bool:
        """End a listing; return whether it was confirmed. Raises StoreUnavailable."""

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_END, name, subject) is None:
                return False
            data = {"list": name, "subject": subject, "why": why}
            await self._tell(connection, "delisted", data)
            owner = await connection.fetchval(_OWNER, subject)
            if owner is not None:
                await outbox.note(connection, owner, "delisted", data)
            return True

        return await self._database.retried(work)

    async def ignored(self, name: str, why: str) -> None:
        """Record that a blocklist is ignored. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_SAY, "blocklist_ignored", orjson.dumps({"list": name, "why": why}).decode())

    async def _tell(self, connection: Connection, kind: str, data: dict[str, Any]) -> None:
        await connection.execute(_SAY, kind, orjson.dumps(data).decode())
        await connection.execute("select pg_notify($1, '')", CHANNEL)


def _listing(row: Any) -> Listing:
    return Listing(**{name: row[name] for name in Listing.__slots__})
