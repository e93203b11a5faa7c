"""The watcher counts every stall of the loop, and names the code that made it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from mta.observe import loop_watch
from mta.observe.loop_watch import LoopWatch, watch_loop
from mta.observe.metrics import Metrics


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[Metrics]:
    metrics = Metrics()
    task = asyncio.create_task(watch_loop(metrics))
    await asyncio.sleep(2 * loop_watch.BEAT_EVERY)
    try:
        yield metrics
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def hold_the_loop(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def test_a_long_stall_is_counted_and_its_culprit_named() -> None:
    with capture_logs() as logs:
        async with watched() as metrics:
            hold_the_loop(0.5)
            await asyncio.sleep(2 * loop_watch.BEAT_EVERY)
    [line] = [line for line in logs if line["event"] == "event loop stood still"]
    assert line["seconds"] >= 0.4
    assert line["cpu"] >= 0.1
    assert "hold_the_loop" in line["where"]
    assert metrics.loop_stalls.count >= 1
    assert metrics.loop_lag.value >= 0.4


def test_what_is_on_time_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    metrics = Metrics()
    watch = LoopWatch(metrics, 0)
    watch.beat(due=99.98)
    assert metrics.loop_stalls.count == 0
    assert metrics.loop_lag.value == pytest.approx(0.02)


def test_the_longest_delay_is_shown_for_a_scrape_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    metrics = Metrics()
    watch = LoopWatch(metrics, 0)
    for at, lag in ((100.0, 0.06), (101.0, 0.2), (102.0, 0.01)):
        now = at
        watch.beat(due=at - lag)
    assert metrics.loop_lag.value == pytest.approx(0.2)
    now = 101.0 + loop_watch.RECENT + 0.5
    watch.beat(due=now)
    assert metrics.loop_lag.value == pytest.approx(0.01)
    assert metrics.loop_stalls.count == 2
