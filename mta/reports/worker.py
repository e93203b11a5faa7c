"""Process the report queue for as long as the worker process runs: several reports at a time, with retries.

Invariants: One report does not delay the others for longer than its own timeouts, nor does it end the loop. A report
either has all its effects, in one transaction, or none; metrics are counted after the commit.

Limitations: A report that arrived on this worker starts at once; one that another worker left, within POLL seconds.
Counts are lost if the process ends, or the connection breaks, between the commit and its acknowledgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bounce.parsers.report_kinds import ReportKind
from mta.delivery.mx import Resolver
from mta.delivery.name_servers import DnsError
from mta.observe.labels import InboundReportKind
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.internal_mail import InternalMailBuilder
from mta.reports.attribution import AttributedReport, ReportContext, attribute, query_of, return_path_of
from mta.reports.outgoing import OutgoingMail
from mta.reports.process import process, signature_matters
from mta.reports.reporters import verified_author
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.report_actions import CountReport, CountUnsubscribe, InboundReport, ReportAction
from mta.store.results.report_queue import Backlog, ReportQueue, ReportReclaimed
from mta.store.store import Store

log = get_logger()

AT_ONCE = 8
POLL = 1.0  # seconds
COUNT_EVERY = 5.0
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)  # before a retry


class ReportWorker:
    """Claims reports and has ``handle`` process them, which raises as ``ReportProcessor.handle`` does."""

    def __init__(
        self, queue: ReportQueue, handle: Callable[[InboundReport], Awaitable[None]], metrics: Metrics
    ) -> None:
        self._queue, self._handle, self._metrics = queue, handle, metrics
        self._arrived = asyncio.Event()
        self._backlog = Backlog(0, 0)

    def waiting(self) -> int:
        """Return the number of reports in the queue at the last count."""
        return self._backlog.waiting

    def wake(self) -> None:
        """Look for reports now: one has arrived."""
        self._arrived.set()

    async def run(self) -> None:
        """Process reports until cancelled. Raises StoreUnavailable."""
        while True:
            self._arrived.clear()
            batch = await self._queue.claim(AT_ONCE)
            await asyncio.gather(*(self._work(report) for report in batch))
            if not batch:
                await self._pause()

    async def count(self) -> None:
        """Keep the size of the backlog up to date. Raises StoreUnavailable."""
        while True:
            self._backlog = await self._queue.backlog()
            self._metrics.inbound_report_backlog.set(self._backlog.waiting)
            self._metrics.inbound_reports_failed.set(self._backlog.failed)
            await asyncio.sleep(COUNT_EVERY)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL):
                await self._arrived.wait()
        except TimeoutError:
            pass

    async def _work(self, report: InboundReport) -> None:
        try:
            await self._handle(report)
        except ReportReclaimed:
            log.info("report reclaimed by another worker", report=report.id)
        except StoreUnavailable:
            pass  # its lease expires, and it is claimed again
        except DnsError as error:
            await self._retry(report, str(error))
        except Exception as error:
            log.exception("report failed", report=report.id, tries=report.tries)
            await self._retry(report, f"{type(error).__name__}: {error}")

    async def _retry(self, report: InboundReport, error: str) -> None:
        wait = min(FIRST_WAIT * 2 ** (report.tries - 1), LONGEST_WAIT)
        try:
            await self._queue.postpone(report, error, wait)
        except StoreUnavailable:
            pass


class ReportProcessor:
    """Handles one report: reads, decides, applies, counts. ``context`` None: there is no return path domain."""

    def __init__(
        self,
        store: Store,
        resolver: Resolver,
        metrics: Metrics,
        builder: InternalMailBuilder,
        context: ReportContext | None,
    ) -> None:
        self._store, self._resolver, self._metrics = store, resolver, metrics
        self.configure(builder, context)

    def configure(self, builder: InternalMailBuilder, context: ReportContext | None) -> None:
        """Apply new settings, from the next report on."""
        self._builder, self._context = builder, context

    async def handle(self, inbound: InboundReport) -> None:
        """Process one report. Raises StoreUnavailable, DnsError, ReportReclaimed; then nothing was changed."""
        context, builder = self._context, self._builder
        if context is None:
            return await self._store.report_queue.drop(inbound)
        report = await self._read(inbound, context)
        actions = process(report, context)
        applied = await self._store.reports.apply(inbound, actions, OutgoingMail(builder, inbound, context))
        return self._count(inbound, actions, applied)

    async def _read(self, inbound: InboundReport, context: ReportContext) -> AttributedReport:
        """Parse and attribute ``inbound``; read the facts about it, and verify its signature if that matters."""
        now = datetime.now(UTC)
        ours = return_path_of(inbound, context, now)
        query = query_of(ours[1] if ours else None)
        facts = await self._store.reports.facts(query)
        report = attribute(inbound, context, now, facts)
        if report.query != query:
            facts = await self._store.reports.facts(report.query)
        report = replace(report, facts=facts)
        accounts = [self._store.accounts.by_id(each) for each in report.account_ids]
        report = replace(report, accounts={each.id: each for each in accounts if each})
        if signature_matters(report, context):
            is_complaint = report.report.kind is ReportKind.COMPLAINT
            trusted = context.trusted_reporters if is_complaint else ()
            report = replace(report, signer=await verified_author(inbound.content, self._resolver, trusted))
        return report

    def _count(self, inbound: InboundReport, actions: Sequence[ReportAction], applied: Sequence[ReportAction]) -> None:
        """Count what was applied; what was not is a duplicate."""
        done = {id(action) for action in applied}
        for action in actions:
            if isinstance(action, CountUnsubscribe):
                self._metrics.unsubscribes[action.way].inc()
            elif isinstance(action, CountReport):
                kind = action.kind if id(action) in done else InboundReportKind.DUPLICATE
                self._metrics.inbound_reports[kind].inc()
                log.info("report processed", report=inbound.id, kind=kind.value, account=action.account_id)
