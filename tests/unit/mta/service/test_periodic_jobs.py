"""The periodic jobs together: each has its rounds, works by the settings in use, and ends when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from config.schema import Settings
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask, QueueState
from mta.observe.metrics import Metrics
from mta.service.periodic_jobs import PeriodicJobs
from mta.store.reputation import delivery_stats
from mta.store.store import Store, StoreUnavailable
from tests.unit.mta.store import make
from tests.unit.mta.store.make import until


@pytest.fixture
async def jobs(store: Store) -> AsyncIterator[PeriodicJobs]:
    metrics = Metrics()
    settings = Settings.model_validate({"dns": {"servers": ["127.0.0.1:1"], "timeout": "100ms"}})
    made = PeriodicJobs(settings, store, metrics, BackgroundTasks(metrics))
    yield made
    await made.stop()


async def test_they_run_until_they_are_stopped(jobs: PeriodicJobs, store: Store) -> None:
    await store.messages.enqueue_all([make.accepted()], leased=False)
    await jobs.start()
    await until(lambda: jobs._metrics.queue[QueueState.READY].value == 1 and jobs._metrics.database_up.value == 1)
    assert len(jobs._running) == len({task.get_name() for task in jobs._running}) == 17
    assert jobs._tasks.failing() == []
    await jobs.stop()
    assert all(task.done() for task in jobs._running)


async def test_one_that_fails_is_named_and_disturbs_no_other(
    jobs: PeriodicJobs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(store.mailings, "sweep", broken)
    await jobs.start()
    await until(lambda: jobs._metrics.queue_measured.value and jobs._tasks.failing())
    assert [each.name for each in jobs._tasks.failing()] == [BackgroundTask.MAILING_HOLDS.value]


async def test_the_metric_follows_the_database() -> None:
    """Also one that is not ours to start again."""
    metrics, away = Metrics(), [False]

    async def ping() -> None:
        if away[0]:
            raise StoreUnavailable("away")

    store = cast(Store, SimpleNamespace(ping=ping))
    jobs = PeriodicJobs(Settings(), store, metrics, BackgroundTasks(metrics))
    for away[0] in (False, True, False):
        try:
            await jobs._ask_database()
        except StoreUnavailable:
            assert away[0]
        assert metrics.database_up.value == (not away[0])


async def test_reloaded_settings_are_used_from_the_next_round_on(
    jobs: PeriodicJobs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[float] = []

    async def repair(longest_life: float) -> None:
        lives.append(longest_life)

    monkeypatch.setattr(store.clock, "repair", repair)
    await jobs._keep_times()
    await jobs._run_deadlines()
    before = jobs._complaints
    await jobs._run_deadlines()
    assert jobs._complaints is before
    jobs.configure(Settings.model_validate({"queue": {"expire_after": "1d"}}))
    await jobs._keep_times()
    await jobs._run_deadlines()
    assert lives[0] > lives[1]
    assert jobs._complaints is not before


async def test_a_complaint_ends_the_pause_of_the_breakers(jobs: PeriodicJobs, store: Store) -> None:
    rounds: list[Settings] = []

    async def look(settings: Settings, _: Store) -> None:
        rounds.append(settings)
        jobs._breakers._complained.clear()

    jobs._breakers.look = look  # type: ignore[method-assign]
    await jobs.start()
    await until(lambda: rounds and not jobs._breakers._complained.is_set())
    before = len(rounds)
    await make.execute(store, "select pg_notify($1, '')", delivery_stats.CHANNEL)
    await until(lambda: len(rounds) > before)
