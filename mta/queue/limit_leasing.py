"""Keeps this worker's shares of limits: asks PostgreSQL for what is needed, and gives back what is not.

Many limits share a transaction, and there is one at a time: no message waits for its own. While there are many, they
are some time apart, so that more share one: it takes 0.5 ms of processor time, and a limit in it 0.02. A scope where
nothing is held and nothing waits costs nothing.

Invariants: what was given back is not used while the answer is on its way. A lease that cannot be relied on any more
ends every connection, before the shares that it held can be given to others.

Limitations: a message that has been sent to its final dot is waited for, until the lease is known to be lost: cutting
its connection might send it twice. A process that is stopped (SIGSTOP) keeps its sockets for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from math import inf
from time import monotonic
from weakref import WeakValueDictionary

from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask
from mta.queue.path_limits import Permits, RateShare, Share
from mta.store.postgres.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from mta.store.queue.egress_limits import EgressLimits
from mta.store.queue.lease import Lease
from mta.store.queue.limit_shares import LimitKey, LimitRequest

AWAY = 1.0  # seconds between two tries while the store is away
APART = 0.05  # seconds between the beginnings of two transactions, if there are many: new sites share one then
AT_ONCE = 10  # transactions that need not be so far apart, after a rest

PATIENCE = 5.0  # seconds for which an attempt waits, with its connection open, to start another message


class Starts:
    """What an attempt may start: its first message by units that were reserved for it, further ones as they come.

    It is a StartPermit. ``tenants``: permits of its account and mailing, a connection of which it has until ``close``,
    which also gives back what was not used.
    """

    def __init__(self, path: Permits, tenants: Sequence[Permits]) -> None:
        self._permits = [path, *tenants]
        self._connections = [each.connections for each in tenants if each.connections is not None]
        for connections in self._connections:
            connections.begin()
        self._reserved: list[tuple[RateShare, int]] | None = self._reserve()

    async def next(self) -> bool:
        if self._reserved is not None:
            return True
        deadline = monotonic() + PATIENCE
        while wait := max(permits.wait(monotonic()) for permits in self._permits):
            if monotonic() + wait > deadline:
                return False
            await asyncio.sleep(wait)
        self._reserved = self._reserve()
        return True

    def started(self) -> None:
        now = monotonic()
        for rate, epoch in self._reserved or ():
            if rate.epoch == epoch:
                rate.started(now)
        self._reserved = None

    def close(self) -> None:
        for rate, epoch in self._reserved or ():
            if rate.epoch == epoch:
                rate.unreserve()
        self._reserved = None
        for connections in self._connections:
            connections.end()

    def _reserve(self) -> list[tuple[RateShare, int]]:
        return [unit for permits in self._permits for unit in permits.reserve()]


class LimitLeasing:
    """``revoke``: closes every connection."""

    def __init__(self, limits: EgressLimits, lease: Lease, tasks: BackgroundTasks, revoke: Callable[[], None]) -> None:
        self._limits, self._lease, self._tasks, self._revoke = limits, lease, tasks, revoke
        self._known: WeakValueDictionary[str, Permits] = WeakValueDictionary()
        self._due: list[tuple[float, int, Permits]] = []  # a heap; entries that were overtaken stay
        self._numbers = count()
        self._woken = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._lease_watch: asyncio.TimerHandle | None = None
        self._next_at = 0.0  # monotonic; when the next transaction would begin if all were APART
        self._stopping = False

    def permits(self, scope: str) -> Permits:
        """Return the permits of a scope: the same ones, for as long as any of it is in use."""
        permits = self._known.get(scope)
        if permits is None:
            permits = self._known[scope] = Permits(scope)
            permits.slots.closed = lambda: self.need(permits)
        return permits

    def need(self, permits: Permits) -> None:
        """Look whether there is something to ask for or to give back, now or later."""
        due_at = permits.next_due(monotonic())
        if due_at < permits.due_at:
            self._schedule(permits, due_at)

    def called(self, key: LimitKey | None) -> None:
        """Others wait for units of ours, or have given us some; None: perhaps of any limit."""
        scopes = list(self._known.values()) if key is None else [self._known.get(key.scope)]
        for permits in scopes:
            for share in permits.shares if permits else ():
                if key is None or share.key == key:
                    share.call()
            if permits:
                self.need(permits)

    def lose(self) -> None:
        """Forget all shares: the lease is lost."""
        for permits in list(self._known.values()):
            permits.lose()

    async def stop(self) -> None:
        """Give everything back, if the store can be reached."""
        self._stopping = True
        if self._lease_watch:
            self._lease_watch.cancel()
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        held = list(self._known.values())
        for permits in held:
            permits.yield_all()
        with suppress(StoreUnavailable):
            await self._exchange(held)

    def _schedule(self, permits: Permits, due_at: float) -> None:
        permits.due_at = due_at
        if due_at == inf or self._stopping:
            return
        heappush(self._due, (due_at, next(self._numbers), permits))
        if self._due[0][2] is permits:
            self._woken.set()
        if self._running is None or self._running.done():
            self._running = self._tasks.start(BackgroundTask.EGRESS_LIMITS, self._run)
        if self._lease_watch is None:
            self._watch_lease()

    async def _run(self) -> None:
        """Exchange what is due, for as long as anything is held or needed. Raises StoreUnavailable."""
        while self._due:
            self._woken.clear()
            if due := self._pop_due(now := monotonic()):
                await self._exchange(due)
                self._next_at = max(self._next_at, now - AT_ONCE * APART) + APART
                await asyncio.sleep(self._next_at - monotonic())
                continue
            if self._due:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._due[0][0] - monotonic()):
                        await self._woken.wait()

    def _pop_due(self, now: float) -> list[Permits]:
        due = []
        while self._due and (self._due[0][0] <= now or self._due[0][2].due_at != self._due[0][0]):
            at, _, permits = heappop(self._due)
            if permits.due_at == at:
                permits.due_at = inf
                due.append(permits)
        return due

    async def _exchange(self, due: list[Permits]) -> None:
        now = monotonic()
        sent = [(permits, permits.requests(now)) for permits in due]
        asked = {request.key: (share, request, share.epoch) for _, each in sent for share, request in each}
        try:
            answers = await self._limits.exchange([request for _, request, _ in asked.values()]) if asked else {}
        except BaseException as error:
            self._failed(asked, unknown=not isinstance(error, StoreUnavailable) or isinstance(error, OutcomeUnknown))
            for permits in due:
                self._schedule(permits, monotonic() + AWAY)
            if isinstance(error, LeaseLost):  # whoever renews it takes note, and forgets the shares
                return
            raise
        now = monotonic()
        for key, (share, _, epoch) in asked.items():
            if share.epoch == epoch:
                share.answered(answers[key], now)
        for permits, requests in sent:
            if requests:
                permits.changed()
            self._schedule(permits, min(permits.due_at, permits.next_due(monotonic())))

    def _failed(self, asked: dict[LimitKey, tuple[Share, LimitRequest, int]], *, unknown: bool) -> None:
        for share, request, epoch in asked.values():
            if share.epoch == epoch:
                share.failed(request, monotonic(), unknown=unknown)

    def _watch_lease(self) -> None:
        """Close every connection once the lease cannot be relied on any more; until then look again when it ends."""
        self._lease_watch = None
        if self._stopping:
            return
        if not self._lease.valid:
            self._revoke()
        if self._running is not None and not self._running.done():
            left = max(self._lease.left, AWAY)
            self._lease_watch = asyncio.get_running_loop().call_later(left, self._watch_lease)
