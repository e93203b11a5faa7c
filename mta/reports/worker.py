"""Works off what came back, for as long as the worker lives: some at a time, again when it did not go.

It must never let one report keep the others waiting for longer than it may take itself, nor end because of one.

*Limits.* A report that came in on this worker is begun at once; one that another worker left, within ``POLL``.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from mta.delivery.mx import DnsError
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.reports.process import ReportProcessor
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.report_queue import Arrived, Backlog, Overtaken, ReportQueue

log = get_logger()

AT_ONCE = 8
POLL = 1.0  # seconds
COUNT_EVERY = 5.0
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)  # before another try


class ReportWorker:
    def __init__(self, incoming: ReportQueue, ingest: ReportProcessor, metrics: Metrics) -> None:
        self._incoming, self._ingest, self._metrics = incoming, ingest, metrics
        self._news = asyncio.Event()
        self._backlog = Backlog(0, 0)

    def waiting(self) -> int:
        """How many reports there were at the last count."""
        return self._backlog.waiting

    def wake(self) -> None:
        """There is something new."""
        self._news.set()

    async def run(self) -> None:
        """Take reports and work them off. Raises StoreUnavailable."""
        while True:
            self._news.clear()
            batch = await self._incoming.take(AT_ONCE)
            await asyncio.gather(*(self._work(arrived) for arrived in batch))
            if not batch:
                await self._pause()

    async def count(self) -> None:
        """Keep knowing how many wait. Raises StoreUnavailable."""
        while True:
            self._backlog = await self._incoming.backlog()
            self._metrics.inbound_report_backlog.set(self._backlog.waiting)
            self._metrics.inbound_reports_failed.set(self._backlog.stuck)
            await asyncio.sleep(COUNT_EVERY)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _work(self, arrived: Arrived) -> None:
        try:
            await self._ingest.take(arrived)
        except Overtaken:
            log.info("a report was overtaken", report=arrived.id)
        except StoreUnavailable:
            pass  # its time runs out, and somebody takes it again
        except DnsError as error:
            await self._again(arrived, str(error))
        except Exception as error:
            log.exception("a report could not be worked off", report=arrived.id, tries=arrived.taking)
            await self._again(arrived, f"{type(error).__name__}: {error}")

    async def _again(self, arrived: Arrived, error: str) -> None:
        wait = min(FIRST_WAIT * 2 ** (arrived.taking - 1), LONGEST_WAIT)
        try:
            await self._incoming.put_off(arrived, error, wait)
        except StoreUnavailable:
            pass
