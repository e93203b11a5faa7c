"""Count the replies that automation rules with a window ask for, over all workers and machines.

A worker counts in memory and adds what it counted to the database about once a second. Counts are kept by minute.

Invariants: no delivery waits for the database. What may have been added is not added twice. Memory is bounded.

Limitations: a window is up to a minute longer than it says. What a worker has not added yet is lost with it, and a
crash of the database forgets all. What led to an action does not count again after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from mta.mail.shaping_action import ActionScope, WindowCount
from mta.observe.labels import BackgroundTask
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import OutcomeUnknown
from mta.store.postgres.periodic_flush import PeriodicFlush

MOST = 50_000  # scopes in memory; beyond them no more are counted before the next flush
KEPT = 2  # days

_ADD = """
insert into reply_count as known (rule, scope, minute, replies, matched, sample)
select rule, scope::jsonb, date_trunc('minute', now()), replies, matched, sample
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])
    as one (rule, scope, replies, matched, sample)
on conflict (rule, scope, minute) do update
set replies = known.replies + excluded.replies, matched = known.matched + excluded.matched,
    sample = case when excluded.sample = '' then known.sample else excluded.sample end"""

# Only scopes in which something was counted since the window began; what came before the last action is over.
_WINDOWS = """
select c.rule, c.scope, sum(c.replies)::bigint as replies, sum(c.matched)::bigint as matched,
    max(c.sample) as sample
from reply_count c
join unnest($1::text[], $2::float8[]) as window_of (rule, seconds) on window_of.rule = c.rule
where c.minute > now() - make_interval(secs => window_of.seconds) - interval '1 minute'
    and c.minute > coalesce((
        select max(least(a.expires_at, coalesce(a.cancelled_at, a.expires_at)))
        from shaping_action a where a.rule = c.rule and a.scope = c.scope
    ), '-infinity')
group by c.rule, c.scope
having sum(c.matched) > 0"""

_FORGET = "delete from reply_count where minute < now() - make_interval(days => $1)"

_Key = tuple[str, str]  # rule, scope as JSON


@dataclass(slots=True)
class _Count:
    replies: int = 0
    matched: int = 0
    sample: str = ""


class ReplyCounts:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: dict[_Key, _Count] = {}
        self._flushing = PeriodicFlush(database, BackgroundTask.REPLY_COUNTS, self.flush, lambda: self._counts)

    def count(self, rule: str, scope: ActionScope, *, replies: int, matched: int, sample: str = "") -> None:
        """Count ``replies`` in a scope, of which ``matched`` fit the rule."""
        key = rule, orjson.dumps(scope.fields, option=orjson.OPT_SORT_KEYS).decode()
        counted = self._counts.get(key)
        if counted is None:
            if len(self._counts) >= MOST:
                return
            counted = self._counts[key] = _Count()
        counted.replies += replies
        counted.matched += matched
        counted.sample = sample or counted.sample
        self._flushing.begin()

    async def windows(self, windows: Mapping[str, float]) -> Sequence[WindowCount]:
        """Return what was counted within each rule's window (seconds), by scope. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_WINDOWS, list(windows), list(windows.values()))
        return [
            WindowCount(
                row["rule"],
                ActionScope.read(orjson.loads(row["scope"])),
                row["replies"],
                row["matched"],
                row["sample"],
            )
            for row in rows
        ]

    async def forget(self) -> None:
        """Delete old counts. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FORGET, KEPT)

    async def stop(self) -> None:
        """Add what was counted, if the database can be reached."""
        await self._flushing.stop()

    async def flush(self) -> None:
        """Add what was counted. Raises StoreUnavailable."""
        if not self._counts:
            return
        sent, self._counts = self._counts, {}
        try:
            await self._database.retried(lambda connection: _add(connection, sent))
        except OutcomeUnknown:
            return  # it may have been added
        except BaseException:
            for key, count in sent.items():
                later = self._counts.setdefault(key, _Count())
                later.replies, later.matched = later.replies + count.replies, later.matched + count.matched
                later.sample = later.sample or count.sample
            raise


async def _add(connection: Connection, sent: Mapping[_Key, _Count]) -> None:
    rows = [(*key, each.replies, each.matched, each.sample) for key, each in sorted(sent.items())]  # one order of locks
    await connection.execute(_ADD, *map(list, zip(*rows, strict=True)))
