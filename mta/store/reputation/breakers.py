"""Breakers: evaluated, tripped and cancelled in the database, and queried from memory.

Every process keeps a copy of the open breakers, so that a delivery attempt needs no query. The copy is refreshed on
notification by the database, and every half minute in case one was missed.

Invariants: while the copy has never been read, every query raises StoreUnavailable.

Limitations: only scopes that got worse within the last two hours are evaluated; no other scope can have crossed a
threshold. Counts before a cancellation are discounted, but later complaints and bounces about older mail do count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.delivery import Delivery
from mta.mail.hold import Hold
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.store.mailings import mailing_holds
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import StoreUnavailable
from mta.store.queue.queue import SECONDS
from mta.store.reputation import breaker_moves, delivery_stats
from mta.store.reputation.breaker_moves import CHANNEL, COLUMNS, BreakerError, Cancelled, Tripped, tripped_of
from policy.reputation.breaker import (
    ONE_TRAP,
    BreakerFinding,
    DeliveryCounts,
    Level,
    MailingScope,
    ProviderScope,
    Scope,
    Thresholds,
    breaker_hold,
    judge,
    judge_all,
    less,
)

__all__ = ["CHANNEL", "BreakerError", "Breakers", "Cancelled", "Tripped"]

KEPT = 40  # days that counts are kept

_OPEN = f"select {COLUMNS} from breaker where cancelled_at is null"  # noqa: S608
_ALL = f"select {COLUMNS} from breaker where ($1::bool or cancelled_at is null) order by tripped_at desc limit $2"  # noqa: S608
_NAMED = f"select {COLUMNS} from breaker where name = $1 order by tripped_at desc limit $2"  # noqa: S608

_SUSPICIOUS = """
select t.account_id, t.mailing, t.provider, t.stream::text as stream, a.profile,
    m.id is not null and not exists (
        select from mailing o where o.account_id = m.account_id and o.list = m.list and o.created_at < m.created_at
            and o.confirmed_at is not null
    ) as fresh
from (
    select distinct account_id, mailing, provider, stream from delivery_stats
    where hour >= date_trunc('hour', now()) - interval '1 hour' and hard + complaints + traps + refused > 0
) t
join account a on a.id = t.account_id
left join mailing m on m.id = t.mailing"""

_COUNTS = f"""
select {delivery_stats.SUMS} from delivery_stats
where account_id = $1 and mailing = $2 and provider = $3 and stream = $4::text::stream
    and hour >= date_trunc('hour', coalesce($6, now() - make_interval(secs => $5)))"""  # noqa: S608 - our own text

_FORGIVEN = """
select distinct on (name) name, cancelled_at, forgiven from breaker
where cancelled_at > now() - make_interval(days => $1) order by name, cancelled_at desc"""

_RELEASED = """
select b.name, coalesce(m.released_by, 'somebody') as by
from breaker b join mailing m on m.id = b.mailing
where b.cancelled_at is null and m.stopped is null"""

# By the breaker itself, or because it has stopped the mailing.
_HELD = """
select count(distinct (message_id, recipient_index)) from hold
where account_id = $1
    and (source = 'breaker' and ref = $2 or mailing = $3 and source = 'mailing' and ref = 'stopped')"""

_FORGET = "delete from delivery_stats where hour < now() - make_interval(days => $1)"


@dataclass(frozen=True, slots=True)
class _Looked:
    """A scope to be evaluated."""

    scope: Scope
    key: tuple[int, str, str, str]
    profile: str


class Breakers:
    """Made by ``Store``; ``start`` reads the copy and keeps it fresh."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: Mapping[Scope, Tripped] | None = None
        self._fresh = Freshness("breakers", self._read)
        self.start, self.stop, self.changed = self._fresh.start, self._fresh.stop, self._fresh.changed

    # queries

    def holding(self, delivery: Delivery, provider: str) -> Hold | None:
        """Return why ``delivery`` must wait, None if no breaker holds it. Raises StoreUnavailable if the copy was
        never read."""
        if self._open is None:
            raise StoreUnavailable("the breakers could not be read yet")
        if not self._open:
            return None
        lane = ProviderScope(delivery.account_id, provider, delivery.stream)
        tripped = self._open.get(lane)
        if tripped is None and delivery.mailing is not None:
            tripped = self._open.get(MailingScope(delivery.account_id, delivery.mailing))
        return breaker_hold(tripped.name, tripped.words) if tripped else None

    async def list(self, *, cancelled: bool = False, limit: int = 100) -> Sequence[Tripped]:
        """Return the open breakers, or all, newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [tripped_of(row) for row in await connection.fetch(_ALL, cancelled, limit)]

    async def history(self, name: str, *, limit: int = 20) -> Sequence[Tripped]:
        """Return each trip of the breaker of this name, newest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [tripped_of(row) for row in await connection.fetch(_NAMED, name, limit)]

    async def held(self, tripped: Tripped) -> int:
        """Return the number of recipients it holds now. Raises StoreUnavailable."""
        mailing = tripped.scope.mailing if isinstance(tripped.scope, MailingScope) else None
        async with self._database.session(SECONDS) as connection:
            count: int = await connection.fetchval(_HELD, tripped.scope.account_id, tripped.name, mailing)
        return count

    # changes

    async def look(self, thresholds: Mapping[str, Thresholds]) -> Sequence[BreakerFinding]:
        """Evaluate the scopes that got worse and trip breakers; return the new trips and all warnings.

        ``thresholds``: by profile; an account whose profile is missing is judged by the defaults. Raises
        StoreUnavailable.
        """
        found: list[BreakerFinding] = []
        async with self._database.session(SECONDS) as connection:
            forgiven = {row["name"]: row for row in await connection.fetch(_FORGIVEN, KEPT)}
            for looked in [_looked(row) for row in await connection.fetch(_SUSPICIOUS)]:
                its = thresholds.get(looked.profile) or Thresholds()
                found += await _judged(connection, looked, its, forgiven)
        tripped = [finding for finding in found if finding.level is Level.STOP and await self._trip(finding)]
        await self._follow_releases()
        return [*tripped, *(finding for finding in found if finding.level is Level.WARN)]

    async def warn(self, finding: BreakerFinding) -> None:
        """Record a warning. Raises StoreUnavailable."""
        await self._database.retried(lambda connection: breaker_moves.warn(connection, finding))

    async def cancel(self, name: str, *, by: str, reason: str) -> Cancelled:
        """Cancel the open breaker ``name`` and release what it holds. Raises BreakerError, StoreUnavailable."""
        cancelled = await self._database.retried(
            lambda connection: breaker_moves.cancel(connection, name, by=by, reason=reason), seconds=SECONDS
        )
        await self._fresh.now()
        if cancelled.mailing is None:
            return cancelled
        moved = await mailing_holds.settle(self._database, cancelled.mailing)
        return Cancelled(cancelled.released + moved.released, cancelled.mailing)

    async def trap(self, message_id: MessageId) -> bool:
        """Record that a message has hit a spam trap; return whether the message is known. Raises StoreUnavailable."""

        async def work(connection: Connection) -> bool:
            of = await delivery_stats.origin(connection, message_id)
            if of is not None:
                await delivery_stats.add(connection, of, ONE_TRAP)
            return of is not None

        return await self._database.retried(work)

    async def forget(self) -> None:
        """Delete expired counts. Raises StoreUnavailable."""
        async with self._database.session(SECONDS) as connection:
            await connection.execute(_FORGET, KEPT)

    async def _trip(self, finding: BreakerFinding) -> bool:
        tripped = await self._database.retried(
            lambda connection: breaker_moves.trip(connection, finding), seconds=SECONDS
        )
        if tripped:
            await self._fresh.now()
            if isinstance(finding.scope, MailingScope):
                await mailing_holds.settle(self._database, finding.scope.mailing)
        return tripped

    async def _follow_releases(self) -> None:
        """Cancel the breakers of mailings that were released."""
        async with self._database.session() as connection:
            released = await connection.fetch(_RELEASED)
        for row in released:
            try:
                await self.cancel(row["name"], by=row["by"], reason="the mailing was released")
            except BreakerError:
                pass  # cancelled meanwhile

    # refreshing the copy

    async def _read(self) -> None:
        async with self._database.session() as connection:
            tripped = [tripped_of(row) for row in await connection.fetch(_OPEN)]
            self._open = {each.scope: each for each in tripped}


async def _judged(
    connection: Connection, looked: _Looked, its: Thresholds, forgiven: Mapping[str, Any]
) -> Sequence[BreakerFinding]:
    """Return the findings of one scope, without what a cancellation has discounted."""
    window = its.mailing_window if isinstance(looked.scope, MailingScope) else its.window
    found: list[BreakerFinding] = []
    for finding in judge_all(looked.scope, await _counts(connection, looked, window), its):
        if (pardon := forgiven.get(finding.name)) is None:
            found.append(finding)
            continue
        since = await _counts(connection, looked, window, pardon["cancelled_at"])
        since = less(since, DeliveryCounts(**orjson.loads(pardon["forgiven"] or "{}")))
        if (anew := judge(looked.scope, finding.kind, since, its)) is not None:
            found.append(anew)
    return found


async def _counts(
    connection: Connection, looked: _Looked, window: float, since: datetime | None = None
) -> DeliveryCounts:
    row = await connection.fetchrow(_COUNTS, *looked.key, window, since)
    assert row is not None
    return delivery_stats.counts_of(row)


def _looked(row: Any) -> _Looked:
    account_id, mailing, provider, stream = row["account_id"], row["mailing"], row["provider"], row["stream"]
    scope: Scope
    if mailing:
        scope = MailingScope(account_id, mailing, fresh=row["fresh"])
    else:
        scope = ProviderScope(account_id, provider, Stream(stream))
    return _Looked(scope, (account_id, mailing, provider, stream), row["profile"])
