"""A background task goes on whatever happens to it, and whoever asks is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mta.observe import background
from mta.observe.background import BackgroundTasks, Outage
from mta.observe.labels import BackgroundTask
from mta.observe.metrics import Metrics


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.0)


async def ended(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(10):
        await task


def failing_once(error: BaseException) -> tuple[Callable[[], Awaitable[None]], list[str]]:
    """Work that raises ``error`` the first time, and what it has done."""
    done: list[str] = []

    async def work() -> None:
        done.append("begun")
        if len(done) == 1:
            raise error

    return work, done


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        AttributeError("'NoneType' object has no attribute 'bind_execute'"),
        MemoryError(),
        Outage("away"),
        asyncio.CancelledError(),  # of something that it awaited
    ],
    ids=repr,
)
async def test_no_error_ends_a_task(error: BaseException) -> None:
    work, done = failing_once(error)
    await ended(BackgroundTasks().start(BackgroundTask.CLAIM, work))
    assert len(done) == 2


async def test_its_own_cancellation_ends_it() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = BackgroundTasks().start(BackgroundTask.CLAIM, work)
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended(task)


async def test_errors_are_counted_and_outages_are_not() -> None:
    metrics = Metrics()
    for error in (ValueError("a bug"), Outage("away")):
        work, _ = failing_once(error)
        await ended(BackgroundTasks(metrics).start(BackgroundTask.LEASE, work))
    assert metrics.background_task_failures[BackgroundTask.LEASE].value == 1


async def test_a_task_that_fails_is_named_until_a_round_succeeds() -> None:
    metrics = Metrics()
    tasks = BackgroundTasks(metrics)
    failed, go_on, succeeded = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        if not failed.is_set():
            failed.set()
            raise ValueError("a bug")
        await go_on.wait()
        if tasks.failing() == []:  # the round before has succeeded
            succeeded.set()

    task = tasks.every(BackgroundTask.REQUEUE, 0.0, work)
    await failed.wait()
    (failing,) = tasks.failing()
    assert (failing.name, failing.matters, failing.reason) == ("requeue", True, "ValueError: a bug")
    assert metrics.background_tasks_failing.value == 1
    go_on.set()
    async with asyncio.timeout(10):
        await succeeded.wait()
    assert metrics.background_tasks_failing.value == 0
    task.cancel()


@pytest.mark.parametrize(("error", "longest"), [(ValueError("a bug"), 30.0), (Outage("away"), 1.0)], ids=repr)
async def test_pauses_grow_with_each_failure_in_a_row(
    error: Exception, longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE", 0.1)
    state, tasks, pauses = background._State(BackgroundTask.CLAIM), BackgroundTasks(), []
    for second in range(12):
        state.began = float(second)
        tasks._failed(state, error, float(second))
        pauses.append(round(state.pause, 1))
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == longest


async def test_work_that_goes_on_is_no_failure_any_more() -> None:
    state, tasks = background._State(BackgroundTask.CLAIM), BackgroundTasks()
    tasks._failed(state, ValueError("a bug"), 0.0)
    tasks._failed(state, ValueError("a bug"), background.STEADY)
    assert (state.since, state.pause) == (background.STEADY, background.FIRST_PAUSE)
