"""Reports are processed concurrently; one that fails is retried later and delays no other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mta.delivery.name_servers import DnsError
from mta.observe.metrics import Metrics
from mta.reports.worker import LONGEST_WAIT, ReportWorker
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.report_actions import InboundReport
from mta.store.results.report_queue import Backlog, ReportReclaimed


def report(number: int, tries: int = 1) -> InboundReport:
    return InboundReport(number, datetime.now(UTC), None, (), "192.0.2.1", "mx.example.com", b"", tries)


class Queue:
    """Hands out its reports, and records what is postponed."""

    def __init__(self, *reports: InboundReport) -> None:
        self.left = list(reports)
        self.postponed: list[tuple[int, str, timedelta]] = []
        self.empty, self.counted = asyncio.Event(), asyncio.Event()

    async def claim(self, most: int) -> list[InboundReport]:
        taken, self.left = self.left[:most], self.left[most:]
        if not taken:
            self.empty.set()
        return taken

    async def postpone(self, report: InboundReport, error: str, wait: timedelta) -> None:
        self.postponed.append((report.id, error, wait))

    async def backlog(self) -> Backlog:
        self.counted.set()
        return Backlog(len(self.left), 0)


class Handler:
    def __init__(self, *errors: Exception | None) -> None:
        self.errors = {n: error for n, error in enumerate(errors, 1) if error}
        self.taken: list[int] = []
        self.all = asyncio.Event()
        self.count = len(errors)

    async def handle(self, report: InboundReport) -> None:
        self.taken.append(report.id)
        if len(self.taken) == self.count:
            self.all.set()
        if error := self.errors.get(report.id):
            raise error


async def process_all(queue: Queue, handler: Handler) -> ReportWorker:
    worker = ReportWorker(queue, handler.handle, Metrics())  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        await queue.empty.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return worker


async def test_a_failing_report_does_not_delay_the_others() -> None:
    queue = Queue(*(report(n) for n in range(1, 21)))
    handler = Handler(RuntimeError("a bug"), *[None] * 19)
    await process_all(queue, handler)
    assert sorted(handler.taken) == list(range(1, 21))
    assert queue.postponed == [(1, "RuntimeError: a bug", timedelta(seconds=30))]


@pytest.mark.parametrize(("tries", "wait"), [(1, timedelta(seconds=30)), (3, timedelta(minutes=2)), (8, LONGEST_WAIT)])
async def test_a_dns_failure_is_retried_later(tries: int, wait: timedelta) -> None:
    queue = Queue(report(1, tries))
    await process_all(queue, Handler(DnsError("no answer")))
    assert queue.postponed == [(1, "no answer", wait)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ReportReclaimed("report 1")])
async def test_what_another_worker_has_is_left_to_it(error: Exception) -> None:
    queue = Queue(report(1))
    await process_all(queue, Handler(error))
    assert queue.postponed == []


async def test_a_new_report_is_begun_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.reports.worker.POLL", 3600.0)
    queue, handler = Queue(), Handler(None)
    worker = ReportWorker(queue, handler.handle, Metrics())  # type: ignore[arg-type]
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        await queue.empty.wait()
        queue.left.append(report(1))
        worker.wake()
        await handler.all.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_knows_how_many_wait() -> None:
    queue = Queue(*(report(n) for n in range(3)))
    worker = ReportWorker(queue, Handler().handle, Metrics())  # type: ignore[arg-type]
    counting = asyncio.create_task(worker.count())
    async with asyncio.timeout(10):
        await queue.counted.wait()
        await asyncio.sleep(0)
    counting.cancel()
    assert worker.waiting() == 3
