"""Whether the clocks can be trusted: the database's, by which mail is due and expires, and this machine's.

``Clock`` compares both with the monotonic clock, which nobody sets, and with each other. A clock that was set, or that
differs from the other one, suspends expiry: nobody can say what its age is worth. Once both have agreed, and none was
set, for TRUSTED_AFTER, expiry goes on.

``repair`` keeps what waits in the queue where it was when the database's clock is set: a wait of ten minutes is still
ten minutes, and mail that had three days to live still has them. It is done once for each step, however many services
share the database: ``clock_check`` says up to when the queue's times have been kept.

Invariants: no step of any clock expires a recipient, makes due mail wait, or ends a lease (see ``lease``).

Limitations: steps below TOLERANCE are ordinary corrections. What is written between a step and its repair, CHECK_EVERY
at most, may be tried early. A step forward while no service runs looks like a pause, and is treated as one; expiry is
suspended at first. The times that senders and send windows name move with the clock like all others: after a step they
are late by as much, or early if they were written before the clock went wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.postgres.database import Connection, Database

log = get_logger()

CHECK_EVERY = 5.0  # seconds
TOLERANCE = 30.0  # seconds
TRUSTED_AFTER = 900.0  # seconds of agreement
LONGEST_REPAIR = 300.0  # seconds, for a queue of millions
KEPT_WITHIN = timedelta(seconds=20)  # age of ``clock_check`` while services run

_NOW = "select clock_timestamp()"

_KEPT = "select kept_at, clock_timestamp() as now from clock_check for update"

_KEEP = "update clock_check set kept_at = $1"

# Forward: what was written before the step ($2: its moment, by the clock as it is now) moves with the clock.
_FORWARD = "update queue set due_at = due_at + $1, expires_at = expires_at + $1 where due_at < $2"

# Backward: what would wait for the clock to get there again. $3: longest life of a message.
_BACKWARD = """
update queue set
    due_at = greatest(due_at + $1, now()),
    expires_at = greatest(due_at + $1, now(), least(expires_at, now() + $3))
where due_at > $2"""

_BACKWARD_REPORTS = "update inbound_report set due_at = greatest(due_at + $1, now()) where due_at > $2"

_BACKWARD_WEBHOOKS = """
update webhook set due_at = greatest(due_at + $1, now()), lease_until = lease_until + $1
where due_at > $2 or lease_until > $2"""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """Three clocks at one moment, in seconds; ``wall`` and ``database`` since 1970."""

    monotonic: float
    wall: float
    database: float


@dataclass(frozen=True, slots=True)
class ClockFault:
    """Why a clock is not trusted. ``seconds``: by how much it was set, or how far ours is ahead of the database's."""

    reason: str
    seconds: float


class ClockWatch:
    """Judges samples; reads no clock itself."""

    def __init__(self) -> None:
        self.last: ClockSample | None = None
        self.database_step = 0.0  # of the last sample
        self.fault: ClockFault | None = None
        self._distrusted_at = 0.0

    def observe(self, sample: ClockSample) -> None:
        """Take in a sample; ``fault`` and ``database_step`` are about it."""
        last, self.last, self.database_step = self.last, sample, 0.0
        fault = None
        if last is not None:
            elapsed = sample.monotonic - last.monotonic
            step = sample.database - last.database - elapsed
            self.database_step = step if abs(step) > TOLERANCE else 0.0
            fault = _fault("the database's clock was set", step) or self.wall_step(sample.wall, sample.monotonic, last)
        fault = fault or _fault("this machine's clock differs from the database's", sample.wall - sample.database)
        if fault:
            self.distrust(fault, sample.monotonic)
        elif self.fault and sample.monotonic - self._distrusted_at >= TRUSTED_AFTER:
            self.fault = None

    def distrust(self, fault: ClockFault, monotonic: float) -> None:
        self.fault, self._distrusted_at = fault, monotonic

    def wall_step(self, wall: float, monotonic: float, last: ClockSample | None = None) -> ClockFault | None:
        """Return whether this machine's clock was set since the last sample."""
        last = last or self.last
        if last is None:
            return None
        return _fault("this machine's clock was set", wall - last.wall - (monotonic - last.monotonic))


def _fault(reason: str, seconds: float) -> ClockFault | None:
    return ClockFault(reason, seconds) if abs(seconds) > TOLERANCE else None


class Clock:
    """The clocks as this process sees them; ``check`` is called every CHECK_EVERY. ``read``: wall and monotonic."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics | None,
        read: Callable[[], tuple[float, float]] = lambda: (time.time(), time.monotonic()),
    ) -> None:
        self._database, self._metrics, self._read = database, metrics, read
        self._watch = ClockWatch()

    @property
    def fault(self) -> ClockFault | None:
        """Why expiry is suspended now; None: the clocks are trusted. Notices a step of this machine's at once."""
        wall, monotonic = self._read()
        step = self._watch.wall_step(wall, monotonic)
        if step and self._watch.fault is None:
            self._distrust(step, monotonic)
        return self._watch.fault

    async def check(self) -> None:
        """Compare the clocks. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            sample = self._sample(await connection.fetchval(_NOW))
        self._observe(sample)

    async def repair(self, longest_life: float) -> None:
        """Compare the clocks, and move the queue's times with the database's if it was set. Raises StoreUnavailable.

        ``longest_life``: seconds after which a message expires at the latest.
        """

        async def work(connection: Connection) -> tuple[ClockSample, timedelta]:
            row = await connection.fetchrow(_KEPT)
            assert row is not None
            kept_at, now = row["kept_at"], row["now"]
            sample = self._sample(now)
            step = self._step(kept_at, now, sample)
            if step:
                await _move(connection, step, now, kept_at, timedelta(seconds=longest_life))
            await connection.execute(_KEEP, now)
            return sample, step

        sample, step = await self._database.retried(work, seconds=LONGEST_REPAIR)
        self._observe(sample)
        if step:
            log.warning("queue times moved with the database's clock", seconds=round(step.total_seconds(), 1))

    def _sample(self, now: datetime) -> ClockSample:
        wall, monotonic = self._read()
        return ClockSample(monotonic, wall, now.timestamp())

    def _step(self, kept_at: datetime, now: datetime, sample: ClockSample) -> timedelta:
        """Return by how much the database's clock was set since the queue's times were kept; 0: not, or unknown."""
        if timedelta() <= now - kept_at < KEPT_WITHIN:
            return timedelta()
        last = self._watch.last
        if last is not None:
            step = sample.database - last.database - (sample.monotonic - last.monotonic)
            return timedelta(seconds=step) if abs(step) > TOLERANCE else timedelta()
        return now - kept_at if kept_at - now > timedelta(seconds=TOLERANCE) else timedelta()

    def _observe(self, sample: ClockSample) -> None:
        before = self._watch.fault
        self._watch.observe(sample)
        fault = self._watch.fault
        if fault and not before:
            log.warning("expiry suspended", reason=fault.reason, seconds=round(fault.seconds, 1))
        elif before and not fault:
            log.info("expiry resumed: the clocks agree")
        if self._metrics:
            self._metrics.clock_offset.set(abs(sample.wall - sample.database))
            self._metrics.expiry_suspended.set(float(fault is not None))
            self._metrics.clock_steps.inc(bool(self._watch.database_step))

    def _distrust(self, fault: ClockFault, monotonic: float) -> None:
        self._watch.distrust(fault, monotonic)
        log.warning("expiry suspended", reason=fault.reason, seconds=round(fault.seconds, 1))
        if self._metrics:
            self._metrics.expiry_suspended.set(1.0)
            self._metrics.clock_steps.inc()


async def _move(
    connection: Connection, step: timedelta, now: datetime, kept_at: datetime, longest_life: timedelta
) -> None:
    if step > timedelta():
        await connection.execute(_FORWARD, step, kept_at + step)
    else:
        await connection.execute(_BACKWARD, step, now, longest_life)
        await connection.execute(_BACKWARD_REPORTS, step, now)
        await connection.execute(_BACKWARD_WEBHOOKS, step, now)
