"""A worker's lease: the right to deliver the queue rows that carry its id.

A worker registers and gets an id, which marks every row it holds. It renews the lease, which counts up; ``reap`` ends a
lease whose count has stood still for as long as a lease lasts, and returns its rows to the queue. Later outcomes of
that worker are fenced: they apply only to rows that still carry its id, and by then none do. The rows of a process of
this machine that has ended are returned at once: a process is named by the boot and the process namespace it runs in,
its id, and its start, because ids are reused and the same id in another container is another process.

Invariants: no clock on a wall ends a lease, neither the database's nor anybody's: the reaper measures with its own
monotonic clock what it has seen itself. A worker is not considered dead for something that kept every worker from
renewing: a reaper that did not reach the database for a while begins to watch anew.

Limitations: a machine that sleeps stops its monotonic clock, which only the fencing notices. Ended processes are
recognised on Linux only.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mta.store.postgres.database import Connection, Database, row_count
from mta.store.postgres.errors import LeaseLost

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """``pid_scope``: where ``pid`` is unique; empty if unknown. ``start_ticks``: start, in clock ticks since boot."""

    pid_scope: str
    pid: int
    start_ticks: int


def this_process() -> Process:
    pid = os.getpid()
    return Process(_pid_scope(), pid, _started(pid) or 0)


def is_dead(process: Process) -> bool:
    """True only if it is certain: the same place, and no such process there (or a zombie, or a later one)."""
    if not process.pid_scope or process.pid_scope != _pid_scope():
        return False
    started = _started(process.pid)
    return started != process.start_ticks and not (started is None and _is_hidden(process.pid))


def _pid_scope() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """None: there is no such process any more."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])  # proc(5): field 22 of the line, starttime


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process, of another user, whom /proc (mounted with hidepid) may not show to us."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


SAFETY = 0.8  # share of the lease during which we rely on it; the rest is for clocks and slow answers

_REGISTER = """
insert into worker (host, pid_scope, pid, start_ticks) values ($1, $2, $3, $4) returning id"""

_RENEW = "update worker set renewals = renewals + 1 where id = $1 returning id"

_ALL = "select id, pid_scope, pid, start_ticks, renewals from worker"

# A renewal that comes in between makes the row live again: the count is compared on the row as it is then.
_END = """
delete from worker using unnest($1::bigint[], $2::bigint[]) as ended (id, renewals)
where worker.id = ended.id and worker.renewals = ended.renewals"""

# Leases in use, each found by one probe of the index: their number is that of the workers, not of the rows.
_ORPHANS = """
with recursive used as (
    (select lease from queue where lease is not null order by lease limit 1)
    union all
    select (select lease from queue where lease > used.lease order by lease limit 1) from used
    where used.lease is not null
)
select lease from used where lease is not null and not exists (select from worker where id = lease)"""

_FREE = "update queue set lease = null where lease = any($1::bigint[])"


class Lease:
    """One worker's lease, and the reaping of others. ``seconds``: how long it lasts without renewal."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._id = 0
        self._until = 0.0  # monotonic; until then we rely on it
        self._touched = -math.inf  # monotonic; when reap last reached the database
        self._seen: dict[int, tuple[int, float]] = {}  # renewals of each lease, and since when it is that many

    @property
    def id(self) -> int:
        """The token; 0 when there is none."""
        return self._id

    @property
    def seconds(self) -> float:
        """How long it lasts without renewal."""
        return self._seconds

    @property
    def valid(self) -> bool:
        """Whether what this worker holds may still be delivered by it."""
        return time.monotonic() < self._until

    @property
    def left(self) -> float:
        """Seconds for which it is still valid, as it stands."""
        return max(0.0, self._until - time.monotonic())

    async def register(self) -> None:
        """Get a fresh lease; rows held under an earlier one are lost. Raises StoreUnavailable."""
        began, me = time.monotonic(), this_process()
        async with self._database.session() as connection:
            self._id = await connection.fetchval(_REGISTER, platform.node(), me.pid_scope, me.pid, me.start_ticks)
        self._until = began + self._seconds * SAFETY

    async def renew(self) -> None:
        """Make it last. Raises LeaseLost (drop all that is held, then register), StoreUnavailable (try again)."""
        began = time.monotonic()
        async with self._database.session() as connection:
            renewed = await connection.fetchval(_RENEW, self._id)
        if renewed is None:
            self._until = 0.0
            raise LeaseLost(f"lease {self._id} was given to others")
        self._until = began + self._seconds * SAFETY

    async def release(self) -> None:
        """Give back every row and end the lease. Raises StoreUnavailable."""
        self._until = 0.0
        await self._database.retried(self._end)
        self._id = 0

    async def reap(self) -> int:
        """Give back the rows of dead workers; how many rows. Raises StoreUnavailable."""
        now = time.monotonic()
        if now - self._touched > self._seconds / 2:  # never, or not for a while: the others could not renew either
            self._seen.clear()
        self._touched = -math.inf  # until this call has succeeded
        freed = await self._database.retried(self._reap)
        self._touched = time.monotonic()
        return freed

    async def _end(self, connection: Connection) -> None:
        await connection.execute(_FREE, [self._id])
        await connection.execute("delete from worker where id = $1", self._id)

    async def _reap(self, connection: Connection) -> int:
        rows = await connection.fetch(_ALL)
        silent = self._watch({row["id"]: row["renewals"] for row in rows}, time.monotonic())
        dead = [
            (row["id"], row["renewals"])
            for row in rows
            if row["id"] in silent or is_dead(Process(row["pid_scope"], row["pid"], row["start_ticks"]))
        ]
        if dead:
            await connection.execute(_END, *zip(*dead, strict=True))
        free = [row["lease"] for row in await connection.fetch(_ORPHANS)]
        return row_count(await connection.execute(_FREE, free)) if free else 0

    def _watch(self, renewals: Mapping[int, int], now: float) -> set[int]:
        """Note the leases as they are now; return those that were not renewed for as long as a lease lasts."""
        before, self._seen = self._seen, {}
        for lease, count in renewals.items():
            known = before.get(lease)
            self._seen[lease] = known if known and known[0] == count else (count, now)
        return {lease for lease, (_, since) in self._seen.items() if now - since >= self._seconds}
