"""Backoffs of egress paths, as the workers report them, and an operator's word that they may end.

Each worker decides about its own. Here they can be seen by ``mta explain``, and ended in all workers at once (channel
``retry``).

Limitations: a backoff is reported a moment after it began; one that the database did not take is not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from mta.store.postgres.database import Connection, Database

CHANNEL = "retry"  # payload: a site, or nothing for all
LONGEST = 7900  # octets of a notification's payload

_NOTE = """
with over as (delete from backoff where until < now() - interval '1 minute')
insert into backoff (lease, source, site, until, reply) values ($1, $2, $3, now() + make_interval(secs => $4), $5)
on conflict (lease, source, site) do update set until = excluded.until, reply = excluded.reply"""

_LIVE = "until > now() and exists (select from worker w where w.id = lease)"

_LIST = f"""
select source, site, count(*) as workers, max(until) as until, (array_agg(reply order by until desc))[1] as reply
from backoff where {_LIVE} group by source, site order by site, source"""  # noqa: S608 - our own text

_END = f"""
with ended as (delete from backoff where $1::text[] is null or site = any($1) returning lease, until)
select count(*) from ended where {_LIVE}"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class PathBackoff:
    """A site that ``workers`` workers leave alone from this source, the last one until ``until``. ``reply``: the one
    that began it."""

    source: str
    site: str
    workers: int
    until: datetime
    reply: str


class Backoffs:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, lease: int, source: str, site: str, seconds: float, reply: str) -> None:
        """Report a backoff of the worker with this lease. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_NOTE, lease, source, site, seconds, reply)

    async def list(self) -> Sequence[PathBackoff]:
        """Return the backoffs of all workers, by site and source. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_LIST)
        return [PathBackoff(row["source"], row["site"], row["workers"], row["until"], row["reply"]) for row in rows]

    async def end(self, sites: Collection[str] | None) -> int:
        """End the backoffs of these sites, or of all, in every worker; return how many there were.

        Those that were not reported yet end, too. Raises StoreUnavailable.
        """
        payloads = [""] if sites is None or any(len(site.encode()) > LONGEST for site in sites) else sorted(sites)

        async def work(connection: Connection) -> int:
            await connection.execute("select pg_notify($1, site) from unnest($2::text[]) as site", CHANNEL, payloads)
            ended: int = await connection.fetchval(_END, None if payloads == [""] else payloads)
            return ended

        return await self._database.retried(work)
