"""Long-lived tasks of a process: started here and nowhere else, started again when they fail, and seen when they do.

A task that raises is logged with its name and traceback, counted, and started again after a pause that grows. What is
away outside the program (``Outage``) is waited for without a traceback, and logged once if it lasts.

Invariants: no error ends a task, nor does the cancellation of something that it awaits; only its own does. A failing
task is in ``failing`` until it has run for STEADY seconds, or completed a round.

Limitations: a task that hangs is not noticed here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics

log = get_logger()

FIRST_PAUSE = 0.1  # seconds before the first restart; doubles with each failure in a row
LONGEST_PAUSE = 30.0
OUTAGE_PAUSE = 1.0  # at most, while something outside is away: its return is to be noticed soon
STEADY = 5.0  # seconds of work after which earlier failures are forgotten
OUTAGE_LOGGED_AFTER = 10.0  # seconds

Work = Callable[[], Awaitable[None]]


class Outage(Exception):
    """Something outside the program is away: whoever needs it tries again later."""


@dataclass(frozen=True, slots=True)
class FailingTask:
    """``seconds``: for how long it has been failing. ``matters``: mail is not taken, or not sent, without it."""

    name: str
    seconds: float
    matters: bool
    reason: str


@dataclass(slots=True)
class _State:
    """``since``: loop time of the first failure of a row; None: it works. ``began``: of the last start."""

    name: BackgroundTask
    began: float = 0.0
    since: float | None = None
    reason: str = ""
    pause: float = 0.0
    waiting: bool = False
    told: bool = False

    def works(self) -> None:
        self.since, self.pause, self.told = None, 0.0, False

    def steady(self, now: float) -> bool:
        return not self.waiting and now - self.began >= STEADY


class BackgroundTasks:
    """The long-lived tasks of one process."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics
        self._states: dict[asyncio.Task[None], _State] = {}

    def start(self, name: BackgroundTask, work: Work) -> asyncio.Task[None]:
        """Run ``work`` until it returns. The caller cancels what is returned when it stops."""
        return self._start(_State(name), work)

    def every(self, name: BackgroundTask, seconds: float, work: Work) -> asyncio.Task[None]:
        """Run ``work`` over and over, with a pause of ``seconds`` after each round."""
        state = _State(name)

        async def rounds() -> None:
            while True:
                await work()
                state.works()
                await asyncio.sleep(seconds)

        return self._start(state, rounds)

    def failing(self) -> list[FailingTask]:
        """Return the tasks that do not work now, and set their metric."""
        now = asyncio.get_running_loop().time()
        found: list[FailingTask] = []
        for state in self._states.values():
            if state.since is not None and state.steady(now):
                state.works()
            if state.since is not None:
                name = state.name
                found.append(FailingTask(name.value, now - state.since, name.matters, state.reason))
        if self._metrics:
            self._metrics.background_tasks_failing.set(len(found))
        return found

    def _start(self, state: _State, work: Work) -> asyncio.Task[None]:
        task = asyncio.create_task(self._keep(state, work), name=state.name.value)
        self._states[task] = state
        task.add_done_callback(self._states.pop)
        return task

    async def _keep(self, state: _State, work: Work) -> None:
        loop = asyncio.get_running_loop()
        while True:
            state.began = loop.time()
            try:
                return await work()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._failed(state, error, loop.time())  # what it waited for was cancelled, not the task
            except Exception as error:
                self._failed(state, error, loop.time())
            state.waiting = True
            await asyncio.sleep(state.pause)
            state.waiting = False

    def _failed(self, state: _State, error: BaseException, now: float) -> None:
        """Note a failure, and set the pause after it."""
        if state.since is not None and state.steady(now):
            state.works()
        outage = isinstance(error, Outage)
        if state.since is None:
            state.since = now
        state.pause = min(2 * state.pause or FIRST_PAUSE, OUTAGE_PAUSE if outage else LONGEST_PAUSE)
        state.reason = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        if not outage:
            log.error("background task failed", task=state.name.value, restart_in=state.pause, exc_info=error)
            if self._metrics:
                self._metrics.background_task_failures[state.name].inc()
        elif not state.told and now - state.since >= OUTAGE_LOGGED_AFTER:
            state.told = True
            log.warning("background task interrupted", task=state.name.value, reason=state.reason)
