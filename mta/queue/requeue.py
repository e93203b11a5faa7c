"""Put deliveries back into the store's queue: not attempted, and due again at some moment, or held.

They are collected while a write is under way, so that a crowd costs a few statements.

Invariants: a delivery that is ours is never dropped: it stays here, and in the active queue, until the store has it.
Limitations: rows that are no longer ours are skipped by the store, silently.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from mta.mail.delivery import DelayReason
from mta.mail.hold import Hold
from mta.mail.shaping_action import ShapingAction
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask
from mta.queue.active_queue import Job
from mta.store.queue.messages import Messages

NO_ROOM = timedelta(seconds=15)  # wait of what does not fit into its ready queue
NOT_RECORDED = timedelta(minutes=1)  # wait after an outcome that could not be recorded

# How long it waits; why it is held, the action it waits for, or why it is not for its next try.
_Kind = tuple[timedelta | None, Hold | int | DelayReason | None]


class Requeue:
    """Jobs on their way back to the store; their room in the active queue is released when they are there."""

    def __init__(self, messages: Messages, tasks: BackgroundTasks) -> None:
        self._messages, self._tasks = messages, tasks
        self._waiting: dict[_Kind, list[Job]] = {}
        self._running: asyncio.Task[None] | None = None

    def add(self, jobs: Sequence[Job], wait: timedelta | None = None) -> None:
        """Requeue ``jobs``, due after ``wait`` (in whole seconds), or as they were before. No attempt counts."""
        if not jobs:
            return
        rounded = None if wait is None else timedelta(seconds=math.ceil(wait.total_seconds()))
        self._collect((rounded, None), jobs)

    def pause(self, jobs: Sequence[Job], action: ShapingAction, wait: float = math.inf) -> None:
        """Requeue ``jobs``, due when ``action`` ends, or after ``wait`` seconds if that is earlier."""
        left = min(wait, (action.expires_at - datetime.now(UTC)).total_seconds())
        self._collect((timedelta(seconds=max(0, math.ceil(left))), action.id), jobs)

    def until_open(self, job: Job, opens_at: datetime) -> None:
        """Requeue ``job``, due when its send window opens."""
        left = (opens_at - datetime.now(UTC)).total_seconds()
        self._collect((timedelta(seconds=max(0, math.ceil(left))), DelayReason.SEND_WINDOW), [job])

    def until_room(self, job: Job, seconds: float) -> None:
        """Requeue ``job``, due when a source that warms up may send more."""
        self._collect((timedelta(seconds=math.ceil(seconds)), DelayReason.WARMUP), [job])

    def hold(self, job: Job, hold: Hold) -> None:
        """Requeue ``job``, to be held until it is released."""
        self._collect((None, hold), [job])

    def _collect(self, kind: _Kind, jobs: Sequence[Job]) -> None:
        self._waiting.setdefault(kind, []).extend(jobs)
        if self._running is None or self._running.done():
            self._running = self._tasks.start(BackgroundTask.REQUEUE, self._run)

    async def drain(self, seconds: float) -> None:
        """Wait until nothing is on its way, for at most ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running and not self._running.done():
                    await asyncio.wait([self._running])

    async def _run(self) -> None:
        """Write until nothing waits. Raises what the store raises, and is started again; the next kind goes first."""
        while self._waiting:
            kind, jobs = next(iter(self._waiting.items()))
            del self._waiting[kind]
            try:
                await self._write(kind, jobs)
            except BaseException:
                self._waiting.setdefault(kind, []).extend(jobs)
                raise
            for job in jobs:
                job.release()

    async def _write(self, kind: _Kind, jobs: Sequence[Job]) -> None:
        wait, why = kind
        deliveries = [job.delivery for job in jobs]
        if isinstance(why, Hold):
            await self._messages.hold(deliveries, why)
        elif isinstance(why, DelayReason):
            await self._messages.requeue(deliveries, wait, delayed_by=why)
        else:
            await self._messages.requeue(deliveries, wait, why)
