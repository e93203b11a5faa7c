"""Quotas and rates, exact over all workers and machines, without a query for each message.

A worker leases a block and spends it. Unused parts are returned after a while, and at an orderly stop. The size of a
block is decided in ``policy.accounts.quotas``, under a lock on the row that counts.

Invariants: no more than the limit is given out. Units that may have been committed count as used and are not returned
twice.

Limitations: a worker that dies loses its blocks: at most a sixteenth of the remainder. Near its end a quota may look
exhausted for some seconds while other workers hold unused units. Of a rate a worker may give CREDIT before its first
block arrives, or between two blocks; the next block is smaller by as much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from policy.accounts.quotas import Limit, Loan, Quota, Rate

log = get_logger()

IDLE = 3.0  # seconds after which what was not used is brought back
CREDIT = 10  # of a rate, given before the database has answered
SOON = 0.02  # seconds after which to ask again when an answer is on its way
AWAY = 1.0  # seconds between questions while the database is away
PATIENCE = 2.0  # seconds for which ``admit`` lets a client wait
LOANS = 200  # in one transaction

_OPEN = """
insert into quota_usage (scope, since, used) select *, 0 from unnest($1::text[], $2::timestamptz[])
on conflict do nothing returning scope, since"""

_CLOSE = """
delete from quota_usage q using unnest($1::text[], $2::timestamptz[]) as one (scope, since)
where q.scope = one.scope and q.since > 'epoch' and q.since < one.since - interval '62 days'"""

_LOCK = """
select scope, since, used, (extract(epoch from clock_timestamp()) * 1000000)::bigint as now
from quota_usage where (scope, since) in (select * from unnest($1::text[], $2::timestamptz[]))
order by scope, since for update"""

_KEEP = """
update quota_usage q set used = one.used
from unnest($1::text[], $2::timestamptz[], $3::bigint[]) as one (scope, since, used)
where q.scope = one.scope and q.since = one.since"""

Key = tuple[str, datetime]  # scope, since


@dataclass(frozen=True, slots=True)
class _Want:
    """``owed``: of a rate, given on credit already."""

    limit: Limit
    number: int
    owed: int = 0


@dataclass(slots=True)
class _Block:
    """What was borrowed and not used yet. ``beyond``: what the database had left at the last look."""

    limit: Quota
    left: int = 0
    beyond: int = 0
    used_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Bucket:
    """As ``_Block``, for a rate. ``low``: when to borrow again. ``closed_until``: nothing to be had before."""

    limit: Rate
    left: int = 0
    low: int = 0
    credit: int = CREDIT
    owed: int = 0
    closed_until: float = 0.0
    used_at: float = field(default_factory=time.monotonic)
    asking: asyncio.Task[None] | None = None


class Quotas:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks: dict[Key, _Block] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._back: dict[Key, int] = {}  # changes of states, for what is to be brought back
        self._loans: Batch[_Want, Loan] = Batch(self._flush, items=LOANS, abandoned=self._unwanted)
        self._keeping: asyncio.Task[None] | None = None
        self._stopped = False

    async def stop(self) -> None:
        """Bring everything back, if the database can be reached."""
        self._stopped = True
        if self._keeping:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        asking = [bucket.asking for bucket in self._buckets.values() if bucket.asking]
        await asyncio.gather(*asking, return_exceptions=True)
        self._collect(idle=0.0)
        try:
            await self._bring_back()
        except StoreUnavailable:
            log.info("what was borrowed of quotas is lost with this worker", scopes=len(self._back))

    # quotas

    async def take(self, quotas: Sequence[Quota], number: int) -> int | None:
        """How many the quotas still allow, these ``number`` included; None if there are none.

        If that is less than ``number``, nothing was taken. Raises StoreUnavailable; then nothing was taken either.
        """
        allowed: list[int] = []
        taken: list[Quota] = []
        try:
            for quota in quotas:
                allowed.append(await self._take(quota, number))
                if allowed[-1] < number:
                    self.give_back(taken, number)
                    break
                taken.append(quota)
        except BaseException:
            self.give_back(taken, number)
            raise
        return min(allowed, default=None)

    def give_back(self, quotas: Sequence[Quota], number: int) -> None:
        """Undo ``take``: the message was not accepted after all."""
        for quota in quotas:
            self._block(quota).left += number

    async def _take(self, quota: Quota, number: int) -> int:
        block = self._block(quota)
        if block.left >= number:
            block.left -= number
            return number + block.left + block.beyond
        have, block.left = block.left, 0
        try:
            loan = await self._loans.do(_Want(quota, number - have))
        except BaseException:
            self._block(quota).left += have
            raise
        block = self._block(quota)
        block.left += have + loan.granted
        block.beyond = loan.left
        if have + loan.granted < number:
            return have + loan.left
        block.left -= number
        return number + block.left + loan.left

    def _block(self, quota: Quota) -> _Block:
        key = quota.scope, quota.since
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(quota)
            self._keep_house()
        elif block.limit != quota:  # what was lent under another limit may be more than this one allows
            self._owe(key, block.limit.brought_back(block.left))
            block.limit, block.left, block.beyond = quota, 0, 0
        block.used_at = time.monotonic()
        return block

    # rates

    def rate(self, username: str, rate: float, burst: int) -> float:
        """Seconds to wait before the credential may submit another message; 0: now, and that one is counted."""
        bucket = self._bucket(username, rate, burst)
        now = bucket.used_at = time.monotonic()
        if bucket.left:
            bucket.left -= 1
            if bucket.left <= bucket.low:
                self._ask(bucket)
            return 0.0
        if now < bucket.closed_until:
            return bucket.closed_until - now
        self._ask(bucket)
        if bucket.credit:
            bucket.credit -= 1
            bucket.owed += 1
            return 0.0
        return SOON

    async def admit(self, username: str, rate: float, burst: int) -> float:
        """As ``rate``, but what takes no longer than PATIENCE is waited for here: a client is slowed down first."""
        deadline = time.monotonic() + PATIENCE
        while wait := self.rate(username, rate, burst):
            if time.monotonic() + wait > deadline:
                return wait
            await asyncio.sleep(wait)
        return 0.0

    def _bucket(self, username: str, rate: float, burst: int) -> _Bucket:
        bucket = self._buckets.get(username)
        if bucket is None or (bucket.limit.rate, bucket.limit.burst) != (rate, burst):
            if bucket:
                self._owe((bucket.limit.scope, Rate.since), bucket.limit.brought_back(bucket.left - bucket.owed))
            limit = Rate(f"credential:{username}", rate, burst)
            bucket = self._buckets[username] = _Bucket(limit, credit=min(CREDIT, burst))
            self._keep_house()
        return bucket

    def _ask(self, bucket: _Bucket) -> None:
        """Borrow more, unless somebody is at it."""
        if bucket.asking is None:
            bucket.asking = asyncio.create_task(self._borrow(bucket))

    async def _borrow(self, bucket: _Bucket) -> None:
        owed, bucket.owed = bucket.owed, 0
        try:
            loan = await self._loans.do(_Want(bucket.limit, 1, owed))
        except Exception as error:
            if not isinstance(error, StoreUnavailable):
                log.exception("nothing could be borrowed", scope=bucket.limit.scope)
            bucket.owed += owed
            bucket.closed_until = time.monotonic() + AWAY
        else:
            bucket.left += loan.granted
            bucket.low = bucket.left // 2
            bucket.credit = max(0, min(CREDIT, bucket.limit.burst, loan.left) - bucket.owed)
            bucket.closed_until = time.monotonic() + loan.wait
        finally:
            bucket.asking = None

    # lending and bringing back

    async def _flush(self, wants: list[_Want], since: float) -> Sequence[Loan]:
        left = self._database.timeout - (asyncio.get_running_loop().time() - since)
        back, self._back = self._back, {}
        keys = sorted({(want.limit.scope, want.limit.since) for want in wants} | back.keys())
        try:
            return await self._database.retried(lambda connection: _lend(connection, keys, back, wants), seconds=left)
        except OutcomeUnknown:  # what was to be brought back may be back
            raise
        except BaseException:
            for key, change in back.items():
                self._owe(key, change)
            raise

    def _owe(self, key: Key, change: int) -> None:
        if change:
            self._back[key] = self._back.get(key, 0) + change
            self._keep_house()

    def _unwanted(self, want: _Want, loan: Loan) -> None:
        """Whoever borrowed it went away."""
        self._owe((want.limit.scope, want.limit.since), want.limit.brought_back(loan.granted))

    def _collect(self, idle: float) -> None:
        """Lay aside what has not been used for ``idle`` seconds, and forget what is used no more."""
        before = time.monotonic() - idle
        for key, block in list(self._blocks.items()):
            if block.used_at <= before:
                self._owe(key, block.limit.brought_back(block.left))
                del self._blocks[key]
        for username, bucket in list(self._buckets.items()):
            if bucket.used_at <= before and bucket.asking is None:
                self._owe((bucket.limit.scope, Rate.since), bucket.limit.brought_back(bucket.left - bucket.owed))
                del self._buckets[username]

    async def _bring_back(self) -> None:
        if self._back:
            await self._flush([], asyncio.get_running_loop().time())

    def _keep_house(self) -> None:
        if not self._stopped and (self._keeping is None or self._keeping.done()):
            self._keeping = self._database.tasks.start(BackgroundTask.QUOTAS, self._keep)

    async def _keep(self) -> None:
        """Bring back what is idle, for as long as anything is borrowed."""
        while self._blocks or self._buckets or self._back:
            await asyncio.sleep(IDLE / 2)
            self._collect(IDLE)
            await self._bring_back()


async def _lend(
    connection: Connection, keys: Sequence[Key], back: dict[Key, int], wants: Sequence[_Want]
) -> Sequence[Loan]:
    """Within a transaction: bring back, then lend, one after the other. Rows are locked in order of their keys."""
    columns: list[Any] = [list(column) for column in zip(*keys, strict=True)]
    opened = await connection.fetch(_OPEN, *columns)
    if opened:
        await connection.execute(_CLOSE, *zip(*opened, strict=True))
    rows = await connection.fetch(_LOCK, *columns)
    states = {
        (row["scope"], row["since"]): max(0, row["used"] + back.get((row["scope"], row["since"]), 0)) for row in rows
    }
    now = rows[0]["now"]
    loans: list[Loan] = []
    for want in wants:
        key, limit = (want.limit.scope, want.limit.since), want.limit
        if isinstance(limit, Rate):
            states[key] = limit.owing(states[key], want.owed, now)
        loan = limit.lend(states[key], want.number, now)
        states[key] = loan.state
        loans.append(loan)
    await connection.execute(_KEEP, *columns, [states[key] for key in keys])
    return loans
