"""Limits on connections and rates towards receivers, exact over all workers and machines.

Each limit is a row with the shares of all workers. A worker exchanges many of them in one transaction, about once a
second and only while something changes: what it needs and what it brings back, for what it holds then. What each gets,
``limit_shares`` says. A worker that is given something by the exchange of another, or holds what others wait for, is
called by a notification.

Invariants: rows are locked in the order of their keys. A share counts as long as its lease is in ``worker``; a worker
uses it only while it can rely on that lease.

Limitations: a standby that takes over must have every commit (synchronous replication), or shares given out last are
given out again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import orjson

from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import LeaseLost
from mta.store.queue.lease import Lease
from mta.store.queue.limit_shares import (
    LimitAnswer,
    LimitKey,
    LimitRequest,
    LimitTime,
    decode,
    encode,
    exchange,
    settle,
)
from mta.store.queue.queue import SECONDS

CHANNEL = "egress_limit"  # payload: scope, seconds, and the leases that are called, as JSON
CALLED = 300  # leases in one notification
AT_ONCE = 500  # limits in one transaction
AGAIN_AFTER = 0.25  # seconds after which one who is no worker asks again

# The lock comes with the row, whether it was there or not. Others may delete it until then.
_TAKE = """
insert into egress_limit as l (scope, seconds, total) select * from unnest($1::text[], $2::int[], $3::int[])
on conflict (scope, seconds) do update set total = excluded.total, used_at = now()
returning scope, seconds, state"""

# A statement of its own: it sees the leases that ended while the one before waited for locks.
_NOW = """
select extract(epoch from clock_timestamp())::float8 as now, behind, array(select id from worker) as live
from limit_time"""

_BEHIND = "select behind from limit_time for update"
_SET_BEHIND = "update limit_time set behind = $1"

_KEEP = """
update egress_limit l set state = one.state
from unnest($1::text[], $2::int[], $3::jsonb[]) as one (scope, seconds, state)
where l.scope = one.scope and l.seconds = one.seconds"""

_DROP = """
delete from egress_limit l using unnest($1::text[], $2::int[]) as one (scope, seconds)
where l.scope = one.scope and l.seconds = one.seconds"""

_CALL = "select pg_notify($1, payload) from unnest($2::text[]) as payload"

_COLUMNS = "scope, seconds, total, state"
_LIST = f"select {_COLUMNS} from egress_limit where starts_with(scope, $1) order by scope, seconds"  # noqa: S608

# Scopes are `path:SOURCE:SITE`, `account:ID:SITE`, `mailing:ID:SITE/MAILING`, and `action:` with its fields.
_AT = f"""
select {_COLUMNS} from egress_limit
where starts_with(scope, 'action:') or split_part(scope, ':', 3) = $1
    or starts_with(scope, 'mailing:') and starts_with(split_part(scope, ':', 3), $1 || '/')
order by scope, seconds limit $2"""  # noqa: S608
_WORKERS = "select id, host, pid from worker"

# What is not used any more; the longest window is a day.
FORGET = """
delete from egress_limit
where used_at < now() - interval '2 days' and not state -> 'shares' ?| array(select id::text from worker)"""


@dataclass(frozen=True, slots=True)
class LimitInUse:
    """A limit as it is shared now. ``held``: units by lease. ``cooling``: units of a rate that were used and given
    back. ``wanted``: units that all workers have use for."""

    key: LimitKey
    total: int
    held: Mapping[int, int]
    cooling: int
    wanted: int = 0

    @property
    def is_full(self) -> bool:
        """Whether no worker can be given another unit."""
        return sum(self.held.values()) + self.cooling >= self.total


def path_scope(source: str, site: str) -> str:
    """Return the scope of what is limited from a source to a site."""
    return f"path:{source}:{site}"


class EgressLimits:
    """Made by ``Store``."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database, self._lease = database, lease
        self._time, self._time_of = LimitTime(), 0

    async def exchange(self, requests: Sequence[LimitRequest]) -> Mapping[LimitKey, LimitAnswer]:
        """Bring back and ask for units of these limits. Raises StoreUnavailable, OutcomeUnknown, LeaseLost."""
        answers: dict[LimitKey, LimitAnswer] = {}
        ordered = sorted(requests, key=lambda request: request.key)
        for start in range(0, len(ordered), AT_ONCE):
            work = functools.partial(self._exchange, requests=ordered[start : start + AT_ONCE])
            answers |= await self._database.retried(work)
        return answers

    @asynccontextmanager
    async def one_of_each(self, totals: Mapping[LimitKey, int], patience: float) -> AsyncIterator[float]:
        """Hold a unit of each limit, under a lease of its own: for someone who is no worker. Yield for how many seconds
        they may be used; 0 if they did not come free within ``patience``. Units of rates count as used afterwards.
        What is not given back because of an error ends with the lease.

        Raises StoreUnavailable, OutcomeUnknown, LeaseLost.
        """
        lease = Lease(self._database, self._lease.seconds)
        await lease.register()
        try:
            own = EgressLimits(self._database, lease)
            answers = await own._take_one_of_each(totals, patience)
            if not all(answer.held for answer in answers.values()):
                await own.exchange([LimitRequest(key, totals[key], 0, free=each.held) for key, each in answers.items()])
                yield 0.0
                return
            yield lease.left
            free = [LimitRequest(key, total, 0, free=1) for key, total in totals.items() if not key.seconds]
            used = [
                LimitRequest(key, total, 0, cooling=((key.seconds, 1),)) for key, total in totals.items() if key.seconds
            ]
            await own.exchange([*free, *used])
        finally:
            await lease.release()

    async def _take_one_of_each(
        self, totals: Mapping[LimitKey, int], patience: float
    ) -> Mapping[LimitKey, LimitAnswer]:
        deadline = monotonic() + patience
        while True:
            answers = await self.exchange([LimitRequest(key, total, 1) for key, total in totals.items()])
            if all(answer.held for answer in answers.values()) or monotonic() > deadline:
                return answers
            await asyncio.sleep(AGAIN_AFTER)

    async def listen(self, called: Callable[[LimitKey | None], None]) -> None:
        """Call ``called`` with each limit that this worker must ask for now; None: perhaps all of them."""

        def notified(payload: str | None) -> None:
            if payload is None:
                called(None)
                return
            scope, seconds, leases = orjson.loads(payload)
            if self._lease.id in leases:
                called(LimitKey(scope, seconds))

        await self._database.listen(CHANNEL, notified)

    async def list(self, scope: str = "") -> Sequence[LimitInUse]:
        """Return the limits whose scope begins so. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return await _in_use(connection, _LIST, scope)

    async def at(self, site: str, most: int = 1000) -> Sequence[LimitInUse]:
        """Return the limits of paths and tenants at a site, and all those of actions. Raises StoreUnavailable."""
        async with self._database.session(SECONDS) as connection:
            return await _in_use(connection, _AT, site, most)

    async def workers(self) -> Mapping[int, str]:
        """Return host and process id of each lease. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return {row["id"]: f"{row['host']} pid {row['pid']}" for row in await connection.fetch(_WORKERS)}

    async def _exchange(
        self, connection: Connection, requests: Sequence[LimitRequest]
    ) -> Mapping[LimitKey, LimitAnswer]:
        lease, began = self._lease.id, monotonic()
        if lease != self._time_of:  # what was seen under a lease that was lost may have been long ago
            self._time, self._time_of = LimitTime(), lease
        scopes, seconds = [each.key.scope for each in requests], [each.key.seconds for each in requests]
        rows = await connection.fetch(_TAKE, scopes, seconds, [each.total for each in requests])
        limits = {LimitKey(row["scope"], row["seconds"]): decode(row["state"]) for row in rows}
        now, live = await self._now(connection, began)
        if lease not in live:
            raise LeaseLost(f"lease {lease} was given to others")
        answers: dict[LimitKey, LimitAnswer] = {}
        calls: list[str] = []
        for request in requests:
            answers[request.key], called = exchange(limits[request.key], request, lease, live, now)
            calls += _payloads(request.key, sorted(called))
        kept = [key for key, limit in limits.items() if not limit.is_empty]
        await connection.execute(
            _KEEP,
            [key.scope for key in kept],
            [key.seconds for key in kept],
            [encode(limits[key]).decode() for key in kept],
        )
        if empty := [key for key, limit in limits.items() if limit.is_empty]:
            await connection.execute(_DROP, [key.scope for key in empty], [key.seconds for key in empty])
        if calls:
            await connection.execute(_CALL, CHANNEL, calls)
        return answers

    async def _now(self, connection: Connection, began: float) -> tuple[float, frozenset[int]]:
        """Return the time that units cool by, and the leases that have not ended."""
        (row,) = await connection.fetch(_NOW)
        behind = self._time.behind(row["now"], row["behind"], began, monotonic())
        if behind != row["behind"]:
            behind = max(behind, await connection.fetchval(_BEHIND))
            await connection.execute(_SET_BEHIND, behind)
        return row["now"] - behind, frozenset(row["live"])


def _payloads(key: LimitKey, called: Sequence[int]) -> Sequence[str]:
    return [
        orjson.dumps([key.scope, key.seconds, called[start : start + CALLED]]).decode()
        for start in range(0, len(called), CALLED)
    ]


async def _in_use(connection: Connection, question: str, *values: object) -> Sequence[LimitInUse]:
    """Return limits as they are now: without what has cooled, and what workers held that have ended."""
    rows, clock = await connection.fetch(question, *values), await connection.fetchrow(_NOW)
    assert clock is not None  # the table has one row
    found = []
    for row in rows:
        limit = decode(row["state"])
        settle(limit, row["seconds"], clock["live"], clock["now"] - clock["behind"])
        found.append(
            LimitInUse(
                LimitKey(row["scope"], row["seconds"]),
                row["total"],
                {lease: share.held for lease, share in limit.shares.items()},
                sum(count for _, count in limit.cooling),
                sum(share.wanted for share in limit.shares.values()),
            )
        )
    return found
