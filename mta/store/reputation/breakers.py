"""Breakers: evaluated, tripped and cancelled in the database, and queried from memory.

A trip records the breaker, stops its mailing, opens a case and notifies the account. A cancellation ends exactly the
holds of the breaker, and discounts what was counted until then. Every process keeps a copy of the open breakers, so
that a delivery attempt needs no query. The copy is refreshed on notification by the database, and every half minute in
case one was missed.

Invariants: while the copy has never been read, every query raises StoreUnavailable. An open breaker is not tripped
again. A cancellation has a name and a reason.

Limitations: only scopes that got worse within the last two hours are evaluated; no other scope can have crossed a
threshold. Counts before a cancellation are discounted, but later complaints and bounces about older mail do count. A
transmission in progress is not stopped. Cancelling a breaker over a million recipients is one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.delivery import Delivery
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.mail.reply import sanitise
from mta.observe.labels import BackgroundTask
from mta.store.journal import outbox
from mta.store.journal.account_changes import AccountChangeKind as Change
from mta.store.journal.account_changes import note
from mta.store.mailings import mailing_holds, mailings
from mta.store.postgres.cache_refresh import Freshness
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import ChangeRefused, StoreUnavailable
from mta.store.queue import holds
from mta.store.queue.holds import of_account
from mta.store.queue.queue import SECONDS
from mta.store.reputation import delivery_stats
from mta.store.reputation.case_records import open_case
from policy.reputation.breaker import (
    ONE_TRAP,
    BreakerFinding,
    BreakerKind,
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
from policy.reputation.complaint import BY_US, Complaint, Source

CHANNEL = "breakers"
LONGEST = 300  # characters of a reason

COLUMNS = """
id, name, account_id, mailing, provider, stream::text as stream, kind, cases, rate, ceiling, volume, words, tripped_at,
case_id, cancelled_at, cancelled_by, reset_reason"""

_TRIP = """
insert into breaker (name, account_id, mailing, provider, stream, kind, cases, rate, ceiling, volume, words)
values ($1, $2, $3, $4, $5::text::stream, $6, $7, $8, $9, $10, $11)
on conflict (name) where cancelled_at is null do nothing returning id"""

_DISCOUNT = f"""
select coalesce((
    select to_jsonb(one) from (
        select {delivery_stats.COUNTS} from delivery_stats t
        where t.account_id = b.account_id and t.mailing = coalesce(b.mailing, '')
            and t.provider = coalesce(b.provider, '') and t.hour = date_trunc('hour', now())
            and t.stream = coalesce(b.stream, 'marketing')
    ) one
), '{{}}') from breaker b where b.id = $1"""  # noqa: S608 - our own text

_CANCEL = """
update breaker set cancelled_at = now(), cancelled_by = $2, reset_reason = $3
where name = $1 and cancelled_at is null
returning id, account_id, mailing"""

_SAY = "insert into event (kind, data) values ($1, $2)"


class BreakerError(ChangeRefused):
    """The breaker cannot be changed; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class Tripped:
    """A breaker that has tripped, open or cancelled."""

    id: int
    name: str
    scope: Scope
    kind: BreakerKind
    cases: int
    rate: float
    ceiling: float
    volume: int
    words: str
    tripped_at: datetime
    case_id: int | None
    cancelled_at: datetime | None
    cancelled_by: str | None
    reset_reason: str | None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A cancelled breaker. ``released``: recipients that it had held. ``mailing``: the mailing that may continue."""

    released: int
    mailing: str | None


async def trip(connection: Connection, finding: BreakerFinding) -> bool:
    """Trip a breaker within the caller's transaction; return whether it was closed before."""
    scope, mailing = finding.scope, finding.scope.mailing if isinstance(finding.scope, MailingScope) else None
    lane = scope if isinstance(scope, ProviderScope) else None
    breaker_id = await connection.fetchval(
        _TRIP,
        finding.name,
        scope.account_id,
        mailing,
        lane.provider if lane else None,
        lane.stream.value if lane else None,
        finding.kind.value,
        finding.cases,
        finding.rate,
        finding.ceiling,
        finding.volume,
        finding.words,
    )
    if breaker_id is None:
        return False
    summary = f"{finding.name}: {finding.words}"
    complaint = Complaint(scope.account_id, Source.BREAKER, summary, mailing, cause=finding.cause)
    case_id = await open_case(connection, complaint)
    await connection.execute("update breaker set case_id = $2 where id = $1", breaker_id, case_id)
    if mailing is not None:
        await mailings.stop(connection, mailing, by=finding.name, why=finding.words)
    data = told(finding) | {"case": f"C-{case_id}"}
    await connection.execute(_SAY, "breaker_tripped", orjson.dumps(data).decode())
    await note(connection, scope.account_id, BY_US, Change.BREAKER, data | {"act": "tripped"})
    await outbox.note(connection, scope.account_id, "breaker_tripped", data)
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return True


async def cancel(connection: Connection, name: str, *, by: str, reason: str) -> Cancelled:
    """Cancel a breaker within the caller's transaction; the mailing's rows are to be settled afterwards. Raises
    BreakerError."""
    by, reason = (sanitise(" ".join(text.split()), LONGEST) for text in (by, reason))
    if not by or not reason:
        raise BreakerError("a cancellation needs a name and a reason")
    row = await connection.fetchrow(_CANCEL, name, by, reason)
    if row is None:
        raise BreakerError(f"no open breaker {name[:200]!r} (mta breaker list)")
    forgiven = await connection.fetchval(_DISCOUNT, row["id"])
    await connection.execute("update breaker set forgiven = $2 where id = $1", row["id"], forgiven)
    scope, why = of_account(row["account_id"]), f"breaker {name} cancelled by {by}: {reason}"
    freed = await holds.release(connection, scope, [HoldSource.BREAKER], why, refs=[name])
    if row["mailing"] is not None:
        await mailings.resume(connection, row["mailing"], stopped_by=name, by=by)
    data = {"breaker": name, "by": by, "reason": reason, "recipients": freed.recipients}
    await connection.execute(_SAY, "breaker_cancelled", orjson.dumps(data).decode())
    await note(connection, row["account_id"], by, Change.BREAKER, data | {"act": "cancelled"})
    await outbox.note(connection, row["account_id"], "breaker_cancelled", data)
    await connection.execute("select pg_notify($1, '')", CHANNEL)
    return Cancelled(freed.recipients, row["mailing"])


async def warn(connection: Connection, finding: BreakerFinding) -> None:
    """Record a warning."""
    await connection.execute(_SAY, "breaker_warning", orjson.dumps(told(finding)).decode())
    await outbox.note(connection, finding.scope.account_id, "breaker_warning", told(finding))


def told(finding: BreakerFinding) -> dict[str, Any]:
    """Return the fields of a finding for events."""
    return {
        "breaker": finding.name,
        "account_id": finding.scope.account_id,
        "kind": finding.kind.value,
        "cases": finding.cases,
        "volume": finding.volume,
        "rate": finding.rate,
        "ceiling": finding.ceiling,
        "words": finding.words,
    }


def tripped_of(row: Any) -> Tripped:
    """Return the breaker of a row with ``COLUMNS``."""
    scope: Scope = (
        MailingScope(row["account_id"], row["mailing"])
        if row["mailing"] is not None
        else ProviderScope(row["account_id"], row["provider"], Stream(row["stream"]))
    )
    return Tripped(
        id=row["id"],
        name=row["name"],
        scope=scope,
        kind=BreakerKind(row["kind"]),
        cases=row["cases"],
        rate=row["rate"],
        ceiling=row["ceiling"],
        volume=row["volume"],
        words=row["words"],
        tripped_at=row["tripped_at"],
        case_id=row["case_id"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
        reset_reason=row["reset_reason"],
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
        self._fresh = Freshness(database.tasks, BackgroundTask.BREAKERS, self._read)
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
        await self._database.retried(lambda connection: warn(connection, finding))

    async def cancel(self, name: str, *, by: str, reason: str) -> Cancelled:
        """Cancel the open breaker ``name`` and release what it holds. Raises BreakerError, StoreUnavailable."""
        cancelled = await self._database.retried(
            lambda connection: cancel(connection, name, by=by, reason=reason), seconds=SECONDS
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
        tripped = await self._database.retried(lambda connection: trip(connection, finding), seconds=SECONDS)
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
