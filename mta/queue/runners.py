"""Runners: they take the jobs of a ready queue one after the other, each with a connection of its path.

There are as many for a ready queue as its throttle, its share of the path's limits and the worker's connections allow.
One that is no longer allowed, or has nothing to do, ends; whatever makes room for it calls it up again. So a path that
is paused, limited or empty has none, and costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from mta.queue.active_queue import Job
from mta.queue.connection_budget import ConnectionBudget
from mta.queue.limit_leasing import LimitLeasing, Starts
from mta.queue.ready_queue import ReadyQueue
from mta.queue.tenant_limits import TenantLimits

GROW_AFTER = 0.05  # seconds that jobs wait for a busy runner before more runners are started
LONG_WAIT = 30.0  # seconds for which what waits for a rate waits in the store


class Runners:
    """``deliver``: takes a job to its outcome. ``sit_out``: requeues jobs for so many seconds. ``close_idle``: closes
    so many idle connections of a source and site."""

    def __init__(
        self,
        *,
        limits: LimitLeasing,
        connections: ConnectionBudget,
        tenants: TenantLimits,
        close_idle: Callable[[str, str, int], None],
        deliver: Callable[[ReadyQueue, Job, Starts], Coroutine[Any, Any, None]],
        sit_out: Callable[[Sequence[Job], float], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        stopping: asyncio.Event,
    ) -> None:
        self._limits, self.connections, self.tenants, self._close_idle = limits, connections, tenants, close_idle
        self._deliver, self._sit_out, self._spawn, self._stopping = deliver, sit_out, spawn, stopping
        self._growing: set[ReadyQueue] = set()
        self._timed: set[ReadyQueue] = set()  # they come back when their rates allow more
        tenants.start = self.start

    def start(self, queue: ReadyQueue) -> None:
        """See to it that what waits is served: by one runner, or more if many jobs wait or runners are slow."""
        waiting = queue.waiting
        if not waiting or self._stopping.is_set():
            return
        now = monotonic()
        if queue.throttle.in_backoff(now):
            self._sit_out(queue.take_all(), queue.throttle.backoff_left(now))
            return
        if queue.permits.is_short(now):
            self._limits.need(queue.permits)
        if queue.startable(now) <= 0:
            self._wait_for_rate(queue, now)  # or for a runner that ends, or for more connections
        else:
            if many := queue.running == 0 or waiting > 2 * queue.running:
                self._add(queue, 1)
            if waiting > many and queue not in self._growing:
                self._growing.add(queue)
                asyncio.get_running_loop().call_later(GROW_AFTER, self._grow, queue)

    def changed(self, queue: ReadyQueue) -> None:
        """The limits allow more than before, or others wait for connections of ours."""
        connections = queue.connections
        if connections.is_over:
            self._close_idle(*queue.path.key, connections.held - connections.keep)
            self._limits.need(queue.permits)
        self.start(queue)

    def _wait_for_rate(self, queue: ReadyQueue, now: float) -> None:
        """Come back when the rates allow another start. What would wait for long waits in the store."""
        if (closed := queue.permits.closed_for(now)) >= LONG_WAIT:
            queue.closed_until = now + closed
            self._sit_out(queue.take_all(), closed)
        elif 0 < (wait := queue.permits.wait(now)) < LONG_WAIT and queue not in self._timed:
            self._timed.add(queue)
            asyncio.get_running_loop().call_later(wait, self._time_over, queue)

    def _time_over(self, queue: ReadyQueue) -> None:
        self._timed.discard(queue)
        self.start(queue)

    def _grow(self, queue: ReadyQueue) -> None:
        self._growing.discard(queue)
        if not self._stopping.is_set():
            self._add(queue, queue.startable(monotonic()))

    def _add(self, queue: ReadyQueue, count: int) -> None:
        for _ in range(count):
            if not self.connections.take(queue, monotonic()):
                return  # one that ends elsewhere calls it up
            queue.connections.begin()
            self._spawn(self._run(queue))

    async def _run(self, queue: ReadyQueue) -> None:
        """Serve one job after the other, for as long as the path may have so many connections."""
        try:
            while self._goes_on(queue) and (job := queue.take()) is not None:
                await self._serve(queue, job)
                self.start(queue)
        finally:
            queue.connections.end()
            self.connections.release()
            self.changed(queue)
            for waiting in self.connections.admissible(monotonic()):
                self.start(waiting)

    def _goes_on(self, queue: ReadyQueue) -> bool:
        """Return whether a runner may go on with another job; if not, it is no longer needed."""
        now = monotonic()
        return (
            not self._stopping.is_set()
            and queue.keeps(now)
            and self.connections.keeps(queue, now)
            and queue.permits.startable(now) > 0
        )

    async def _serve(self, queue: ReadyQueue, job: Job) -> None:
        """Deliver a job if its account and mailing may start one more; else it waits aside."""
        tenants = self.tenants.admit(queue, job)
        if tenants is None:
            return
        starts = Starts(queue.permits, [tenant.permits for tenant in tenants])
        try:
            await self._deliver(queue, job, starts)
        finally:
            starts.close()
            self.tenants.ended(tenants)
