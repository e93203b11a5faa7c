"""How much each source that warms up has sent to each provider group today, exact over all workers and machines.

A worker borrows recipients in blocks, under a lock on the row that counts, as quotas do (docs/decisions/0013); what it
has not used for a while, or at the day's or its own end, goes back. What a day allows is decided by the plan.

Invariants: what was lent and not brought back counts as used, so no day's volume is passed. No delivery waits for the
database here.
Limitations: a worker that dies takes its block along: at most an eighth of what was free. Answers are counted about a
second late; those of a worker that dies in between are lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Protocol

import orjson

from mta.mail.warmup import WarmupDay, WarmupLoan
from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable

IDLE = 300.0  # seconds after which what was not used is brought back
EXCHANGE_EVERY = 0.5  # seconds
SOON = 1.0  # seconds after which to ask again when an answer is on its way
LONGEST_WAIT = 600.0  # seconds for which an answer is believed
STOP_WITHIN = 3.0  # seconds for an exchange that is under way at the end
KEPT = 400  # days

log = get_logger()

_COLUMNS = "source, provider, day, step, used, good, bad, paused"
_OPEN = """
insert into warmup_day (source, provider, day, step)
select * from unnest($1::text[], $2::text[], $3::date[], $4::int[]) order by 1, 2, 3
on conflict do nothing"""
_LAST = f"""
select {_COLUMNS} from unnest($1::text[], $2::text[]) as wanted (source, provider)
cross join lateral (
    select step, day, used, good, bad, paused from warmup_day w
    where w.source = wanted.source and w.provider = wanted.provider and w.day < $3 order by w.day desc limit 1
) last"""  # noqa: S608 - our own text
_LOCK = f"""
select {_COLUMNS} from warmup_day
where (source, provider, day) in (select * from unnest($1::text[], $2::text[], $3::date[]))
order by source, provider, day for update"""  # noqa: S608
_KEEP = """
update warmup_day w set used = one.used, good = one.good, bad = one.bad, paused = one.paused
from unnest($1::text[], $2::text[], $3::date[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
    as one (source, provider, day, used, good, bad, paused)
where (w.source, w.provider, w.day) = (one.source, one.provider, one.day)"""
_SAY = "insert into event (kind, data) values ($1, $2)"

_LATEST = f"""
select distinct on (source, provider) {_COLUMNS} from warmup_day where day <= (now() at time zone 'utc')::date
order by source, provider, day desc"""  # noqa: S608
_TODAY = "(now() at time zone 'utc')::date"
_RESUME = f"""
update warmup_day set paused = '', good = 0, bad = 0
where source = $1 and provider = $2 and day = {_TODAY} and paused <> '' returning step"""  # noqa: S608
_SET = f"""
insert into warmup_day (source, provider, day, step) values ($1, $2, {_TODAY}, $3)
on conflict (source, provider, day) do update set step = excluded.step, paused = ''"""  # noqa: S608
_FORGET = f"delete from warmup_day where day < {_TODAY} - $1::int"  # noqa: S608

Key = tuple[str, str]  # source, provider


class Plan(Protocol):
    """What decides about a source at a provider group: ``mta.delivery.egress.warmup``."""

    @property
    def source(self) -> str: ...
    @property
    def provider(self) -> str: ...
    def step_on(self, today: date, last: WarmupDay | None) -> int: ...
    def loan(self, day: WarmupDay, wanted: int, now: datetime) -> WarmupLoan: ...
    def verdict(self, day: WarmupDay) -> str: ...


@dataclass(slots=True)
class _Block:
    """What this worker has borrowed and not used. ``others``: of that, for recipients without recent contact.
    ``wanted``: to be borrowed. ``closed``, ``others_closed``: monotonic times before which there is nothing."""

    plan: Plan
    day: date | None = None
    left: int = 0
    others: int = 0
    wanted: int = 0
    back: int = 0
    good: int = 0
    bad: int = 0
    closed: float = 0.0
    others_closed: float = 0.0
    used_at: float = 0.0

    @property
    def is_dirty(self) -> bool:
        return bool(self.wanted or self.back or self.good or self.bad)


@dataclass(frozen=True, slots=True)
class _Change:
    """What a block has to tell the database; ``wanted`` is for today, the rest for ``day``."""

    plan: Plan
    day: date | None
    wanted: int
    back: int
    good: int
    bad: int


class WarmupDays:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks: dict[Key, _Block] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()  # set after each exchange
        self._stopped = asyncio.Event()

    async def stop(self) -> None:
        """Bring everything back, if the database can be reached."""
        self._stopped.set()
        if self._keeping:
            await asyncio.wait([self._keeping], timeout=STOP_WITHIN)
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for block in self._blocks.values():
            _return(block)
        try:
            await self._exchange()
        except StoreUnavailable:
            log.info("what was borrowed for warm-up is lost with this worker")

    # --- in the course of a delivery

    def wait(self, plan: Plan, number: int, *, engaged: bool) -> float:
        """Return 0 if so many recipients may be sent to now, else the seconds after which to ask again."""
        block, now = self._block(plan), time.monotonic()
        if _has(block, number, engaged):
            return 0.0
        closed = block.closed if engaged else max(block.closed, block.others_closed)
        if now < closed:
            return closed - now
        self._ask(block, number)
        return SOON

    def take(self, plan: Plan, number: int, *, engaged: bool) -> date | None:
        """Take so many recipients; return the day of which they are, None if there are not so many."""
        block = self._block(plan)
        if not _has(block, number, engaged):
            self._ask(block, number)
            return None
        block.left -= number
        block.others = min(block.others - (0 if engaged else number), block.left)
        block.used_at = time.monotonic()
        return block.day

    def give_back(self, plan: Plan, number: int, day: date | None) -> None:
        """Undo a part of ``take``: nothing was sent to so many after all."""
        block = self._block(plan)
        if block.day == day:  # else they count as used on a day that is over
            block.left += number
            block.others = min(block.left, block.others + number)

    def count(self, plan: Plan, *, good: int, bad: int) -> None:
        """Count answers."""
        block = self._block(plan)
        block.good += good
        block.bad += bad
        self._wake()

    def knows(self, plan: Plan) -> bool:
        """Return whether the database has answered for today, lately."""
        block = self._blocks.get((plan.source, plan.provider))
        return block is not None and block.day == _today() and (block.left > 0 or time.monotonic() < block.closed)

    async def ask(self, plans: Iterable[Plan], number: int) -> None:
        """Wait until the database has answered for these plans, or cannot."""
        asked = list(plans)
        for plan in asked:
            self._ask(self._block(plan), number)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._database.timeout):
                while not all(map(self.knows, asked)):
                    self._answered.clear()
                    await self._answered.wait()

    # --- for people

    async def latest(self) -> Sequence[WarmupDay]:
        """Return the latest day of each source and provider group. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_day(row) for row in await connection.fetch(_LATEST)]

    async def resume(self, source: str, provider: str, *, by: str, reason: str) -> bool:
        """End today's pause; return whether there was one. Raises StoreUnavailable."""

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_RESUME, source, provider) is None:
                return False
            await _say(connection, "warmup_resumed", source=source, provider=provider, by=by, reason=reason)
            return True

        return await self._database.retried(work)

    async def set_step(self, source: str, provider: str, step: int, *, by: str, reason: str) -> None:
        """Let today be this step of the plan. Raises StoreUnavailable."""

        async def work(connection: Connection) -> None:
            await connection.execute(_SET, source, provider, step)
            await _say(
                connection, "warmup_set", source=source, provider=provider, warmup_day=step + 1, by=by, reason=reason
            )

        await self._database.retried(work)

    async def forget(self) -> None:
        """Delete old days. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FORGET, KEPT)

    # --- borrowing and bringing back

    def _block(self, plan: Plan) -> _Block:
        key = plan.source, plan.provider
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = _Block(plan, used_at=time.monotonic())
        elif block.plan != plan:  # reloaded: what was lent under the old plan may be too much
            _return(block)
            block.plan, block.closed, block.others_closed = plan, 0.0, 0.0
        if block.day is not None and block.day != _today():
            block.left = block.others = block.back = 0  # of a day that is over: it counts as used
            block.closed = block.others_closed = 0.0
        return block

    def _ask(self, block: _Block, number: int) -> None:
        block.wanted = max(block.wanted, number)
        self._wake()

    def _wake(self) -> None:
        if not self._stopped.is_set() and (self._keeping is None or self._keeping.done()):
            self._keeping = self._database.tasks.start(BackgroundTask.WARMUP, self._keep)

    async def _keep(self) -> None:
        """Exchange with the database for as long as anything is borrowed."""
        while self._blocks and not self._stopped.is_set():
            idle = time.monotonic() - IDLE
            for key, block in list(self._blocks.items()):
                if block.used_at < idle and not block.is_dirty:
                    _return(block)
                    if not block.is_dirty:
                        del self._blocks[key]
            await self._exchange()
            with suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_EVERY):
                    await self._stopped.wait()

    async def _exchange(self) -> None:
        """Bring back, count and borrow, for all blocks at once. Raises StoreUnavailable."""
        dirty = {key: block for key, block in self._blocks.items() if block.is_dirty}
        if not dirty:
            return
        changes = {
            key: _Change(block.plan, block.day, block.wanted, block.back, block.good, block.bad)
            for key, block in dirty.items()
        }
        for block in dirty.values():
            block.wanted = block.back = block.good = block.bad = 0
        try:
            today, loans = await self._database.retried(lambda connection: _exchange(connection, changes))
        except OutcomeUnknown:  # it may have been done: what was lent then counts as used
            raise
        except BaseException:
            for key, change in changes.items():
                block = dirty[key]
                block.back += change.back if block.day == change.day else 0
                block.good += change.good
                block.bad += change.bad
            raise
        finally:
            self._answered.set()
        now = time.monotonic()
        for key, loan in loans.items():
            block = dirty[key]
            if block.day != today:
                block.day, block.left, block.others, block.back = today, 0, 0, 0
            block.left += loan.granted
            block.others = min(block.left, block.others + loan.others)
            block.closed = 0.0 if loan.granted else now + min(loan.wait, LONGEST_WAIT)
            block.others_closed = 0.0 if loan.others else now + min(loan.others_wait, LONGEST_WAIT)


async def _exchange(connection: Connection, changes: Mapping[Key, _Change]) -> tuple[date, dict[Key, WarmupLoan]]:
    """Within a transaction: bring back, count, then lend. Rows are locked in order of their keys."""
    now: datetime = await connection.fetchval("select clock_timestamp()")
    today = now.astimezone(UTC).date()
    await _open(connection, [change.plan for change in changes.values() if change.wanted], today)
    keys = {(*key, change.day or today) for key, change in changes.items()}
    keys |= {(*key, today) for key, change in changes.items() if change.wanted}
    rows = await connection.fetch(_LOCK, *map(list, zip(*keys, strict=True)))
    days = {(day.source, day.provider, day.day): day for day in map(_day, rows)}
    loans: dict[Key, WarmupLoan] = {}
    for key, change in changes.items():
        if (day := days.get((*key, change.day or today))) is not None:
            days[*key, day.day] = await _counted(connection, day, change)
        if change.wanted:
            current = days[*key, today]
            loans[key] = change.plan.loan(current, change.wanted, now)
            days[*key, today] = replace(current, used=current.used + loans[key].granted)
    kept = list(days.values())
    columns: list[list[Any]] = [[getattr(day, name) for day in kept] for name in _COLUMNS.split(", ") if name != "step"]
    await connection.execute(_KEEP, *columns)
    return today, loans


async def _counted(connection: Connection, day: WarmupDay, change: _Change) -> WarmupDay:
    """Return a day with what was brought back and answered; pause it if the plan says so."""
    day = replace(day, used=max(0, day.used - change.back), good=day.good + change.good, bad=day.bad + change.bad)
    if not day.paused and change.bad and (why := change.plan.verdict(day)):
        day = replace(day, paused=why)
        await _say(
            connection, "warmup_paused", source=day.source, provider=day.provider, warmup_day=day.step + 1, reason=why
        )
    return day


async def _open(connection: Connection, plans: Sequence[Plan], today: date) -> None:
    """Make the rows of today, each with its step."""
    if not plans:
        return
    sources, providers = [plan.source for plan in plans], [plan.provider for plan in plans]
    rows = await connection.fetch(_LAST, sources, providers, today)
    last = {(day.source, day.provider): day for day in map(_day, rows)}
    steps = [plan.step_on(today, last.get((plan.source, plan.provider))) for plan in plans]
    await connection.execute(_OPEN, sources, providers, [today] * len(plans), steps)


async def _say(connection: Connection, kind: str, **data: object) -> None:
    await connection.execute(_SAY, kind, orjson.dumps(data).decode())


def _has(block: _Block, number: int, engaged: bool) -> bool:
    return block.left >= number and (engaged or block.others >= number)


def _return(block: _Block) -> None:
    """Lay aside what was not used, for its own day."""
    block.back += block.left
    block.left = block.others = 0


def _today() -> date:
    return datetime.now(UTC).date()


def _day(row: Any) -> WarmupDay:
    return WarmupDay(**dict(row))
