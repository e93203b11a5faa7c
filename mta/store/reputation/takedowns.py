"""The takedown list: hosts and addresses that no message may link to. Each process has it in memory.

Invariants: a change is in the memory of every worker within a second. What is removed stays as a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mta.mail.reply import sanitise
from mta.observe.labels import BackgroundTask
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database
from policy.reputation.takedown import Takedown, TakedownList
from policy.text.link_targets import LinkTarget

CHANNEL = "takedowns"
LONGEST = 500  # characters of a reason

_COLUMNS = "host, path, query, reason, added_by, added_at, removed_by, removed_at"
_LIST = f"select {_COLUMNS} from takedown where ($1 or removed_at is null) order by added_at desc, id desc limit $2"  # noqa: S608
_ADD = """
insert into takedown (host, path, query, reason, added_by)
select host, path, query, $4, $5 from unnest($1::text[], $2::text[], $3::text[]) as one (host, path, query)
on conflict (host, path, query) where removed_at is null do nothing returning id"""
_REMOVE = """
update takedown set removed_at = now(), removed_by = $4, removal_reason = $5
where host = $1 and path = $2 and query = $3 and removed_at is null returning id"""


class Takedowns:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.in_force = TakedownList()
        self._fresh = Freshness(database.tasks, BackgroundTask.TAKEDOWNS, self._read)
        self.start, self.stop, self.changed = self._fresh.start, self._fresh.stop, self._fresh.changed

    async def list(self, *, removed: bool = False, limit: int = 1000) -> Sequence[Takedown]:
        """Return those in force, or all, the newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_takedown(row) for row in await connection.fetch(_LIST, removed, limit)]

    async def add(self, targets: Sequence[LinkTarget], *, reason: str, by: str) -> int:
        """Take down ``targets``; return how many were not yet. Raises StoreUnavailable."""

        async def work(connection: Connection) -> int:
            places = [(each.host, each.path, each.query) for each in dict.fromkeys(targets)]
            hosts, paths, queries = zip(*places, strict=True)
            added = await connection.fetch(_ADD, hosts, paths, queries, sanitise(reason, LONGEST), by)
            await connection.execute("select pg_notify($1, '')", CHANNEL)
            return len(added)

        return await self._database.retried(work) if targets else 0

    async def remove(self, target: LinkTarget, *, reason: str, by: str) -> bool:
        """End the takedown of exactly ``target``; return whether there was one. Raises StoreUnavailable."""

        async def work(connection: Connection) -> bool:
            place = target.host, target.path, target.query
            removed = await connection.fetchval(_REMOVE, *place, by, sanitise(reason, LONGEST))
            await connection.execute("select pg_notify($1, '')", CHANNEL)
            return removed is not None

        return await self._database.retried(work)

    async def _read(self) -> None:
        async with self._database.session() as connection:
            rows = await connection.fetch(f"select {_COLUMNS} from takedown where removed_at is null")  # noqa: S608
        self.in_force = TakedownList(map(_takedown, rows))


def _takedown(row: Any) -> Takedown:
    return Takedown(
        LinkTarget(row["host"], row["path"], row["query"]),
        row["reason"],
        row["added_by"],
        row["added_at"],
        row["removed_by"],
        row["removed_at"],
    )
