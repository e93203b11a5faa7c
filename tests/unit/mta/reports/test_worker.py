"""Reports are worked off one beside the other; one that fails comes again later, and nobody waits for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mta.delivery.mx import DnsError
from mta.observe.metrics import Metrics
from mta.reports.worker import LONGEST_WAIT, ReportWorker
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.report_queue import Arrived, Backlog, Overtaken


def arrived(number: int, taking: int = 1) -> Arrived:
    return Arrived(number, datetime.now(UTC), None, (), "192.0.2.1", "mx.example.com", b"", taking)


class Incoming:
    """Hands out what it has, and notes what comes back."""

    def __init__(self, *reports: Arrived) -> None:
        self.left = list(reports)
        self.off: list[tuple[int, str, timedelta]] = []
        self.empty, self.counted = asyncio.Event(), asyncio.Event()

    async def take(self, most: int) -> list[Arrived]:
        taken, self.left = self.left[:most], self.left[most:]
        if not taken:
            self.empty.set()
        return taken

    async def put_off(self, report: Arrived, error: str, wait: timedelta) -> None:
        self.off.append((report.id, error, wait))

    async def backlog(self) -> Backlog:
        self.counted.set()
        return Backlog(len(self.left), 0)


class Ingest:
    def __init__(self, *errors: Exception | None) -> None:
        self.errors = {n: error for n, error in enumerate(errors, 1) if error}
        self.taken: list[int] = []
        self.all = asyncio.Event()
        self.count = len(errors)

    async def take(self, report: Arrived) -> None:
        self.taken.append(report.id)
        if len(self.taken) == self.count:
            self.all.set()
        if error := self.errors.get(report.id):
            raise error


async def work_off(incoming: Incoming, ingest: Ingest) -> ReportWorker:
    clerk = ReportWorker(incoming, ingest, Metrics())  # type: ignore[arg-type]
    running = asyncio.create_task(clerk.run())
    async with asyncio.timeout(10):
        await incoming.empty.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return clerk


async def test_one_that_fails_does_not_keep_the_others() -> None:
    incoming = Incoming(*(arrived(n) for n in range(1, 21)))
    ingest = Ingest(RuntimeError("a bug"), *[None] * 19)
    await work_off(incoming, ingest)
    assert sorted(ingest.taken) == list(range(1, 21))
    assert incoming.off == [(1, "RuntimeError: a bug", timedelta(seconds=30))]


@pytest.mark.parametrize(("taking", "wait"), [(1, timedelta(seconds=30)), (3, timedelta(minutes=2)), (8, LONGEST_WAIT)])
async def test_who_cannot_be_looked_up_is_asked_again_later(taking: int, wait: timedelta) -> None:
    incoming = Incoming(arrived(1, taking))
    await work_off(incoming, Ingest(DnsError("no answer")))
    assert incoming.off == [(1, "no answer", wait)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Overtaken("report 1")])
async def test_what_another_one_does_is_left_to_him(error: Exception) -> None:
    incoming = Incoming(arrived(1))
    await work_off(incoming, Ingest(error))
    assert incoming.off == []


async def test_a_new_report_is_begun_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.reports.worker.POLL", 3600.0)
    incoming, ingest = Incoming(), Ingest(None)
    clerk = ReportWorker(incoming, ingest, Metrics())  # type: ignore[arg-type]
    running = asyncio.create_task(clerk.run())
    async with asyncio.timeout(10):
        await incoming.empty.wait()
        incoming.left.append(arrived(1))
        clerk.wake()
        await ingest.all.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_knows_how_many_wait() -> None:
    incoming = Incoming(*(arrived(n) for n in range(3)))
    clerk = ReportWorker(incoming, Ingest(), Metrics())  # type: ignore[arg-type]
    counting = asyncio.create_task(clerk.count())
    async with asyncio.timeout(10):
        await incoming.counted.wait()
        await asyncio.sleep(0)
    counting.cancel()
    assert clerk.waiting() == 3
