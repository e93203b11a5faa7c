"""The periodic jobs: what is due every second, minute or day, whoever's mail it is about.

    web process 0 ▶ start ▶ each job in a task of its own: a round, its pause, a round ... ▶ stop

They run in the first web process, not in the supervisor, which may be root: they ask name servers, fetch policies and
read what others have written. If that process is replaced they go on in its successor.

Invariants: a job may be cut off at any moment, and run on several machines at once: what is done once is decided by the
database. None computes for long in the event loop, in which HTTP requests wait.

Limitations: what a job knows of its earlier rounds, such as when a blocklist was last queried, ends with the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from config.schema import Settings
from mta.admin.desk import list_findings
from mta.admin.desk.complaint_notifier import ComplaintNotifier
from mta.delivery.mx import Resolver
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask, QueueState
from mta.observe.metrics import Metrics
from mta.service.jobs.automation import AutomationJob
from mta.service.jobs.blocklists import BlocklistWatch
from mta.service.jobs.breakers import BreakerWatch
from mta.service.jobs.complaints import open_notifier, run_deadlines
from mta.service.jobs.domain_verification import verify_due
from mta.service.jobs.sign_ups import send_requests
from mta.service.jobs.source_checks import SourceWatch
from mta.service.jobs.tls_reports import send_due_reports
from mta.store.queue.clock import CHECK_EVERY
from mta.store.reputation import delivery_stats
from mta.store.store import Store, StoreUnavailable
from policy.profile import load_handling

DATABASE_INTERVAL = 1.0  # seconds, as all that follow
CONTENT_INTERVAL = 1.0
MEASURE_INTERVAL = 5.0
SWEEP_INTERVAL = 600.0
MAILING_INTERVAL = 10.0
VERIFICATION_INTERVAL = 60.0
BREAKER_INTERVAL = 1.0
AUTOMATION_INTERVAL = 1.0
SOURCE_INTERVAL = 60.0
BLOCKLIST_INTERVAL = 2.0
COMPLAINT_INTERVAL = 2.0
SIGN_UP_INTERVAL = 1.0
LIST_INTERVAL = 60.0
TLS_INTERVAL = 60.0
ENDED_WITHIN = 2.0
SHARE = 20  # times as long as it took, that measuring and emptying content pause
REAPS_PER_LEASE = 6  # how often dead workers are looked for within the length of a lease
TLS_POLICIES = 50  # fetched again in one round

Jobs = tuple[tuple[BackgroundTask, float, Callable[[], Awaitable[None]]], ...]


class PeriodicJobs:
    """All jobs of one process. ``tasks``: its own."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics, tasks: BackgroundTasks) -> None:
        self._settings, self._store, self._metrics, self._tasks = settings, store, metrics, tasks
        self._breakers, self._blocklists = BreakerWatch(metrics), BlocklistWatch(metrics)
        self._automation, self._sources = AutomationJob(metrics), SourceWatch(metrics)
        self._complaints: ComplaintNotifier | None = None
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin with a round of each."""
        await self._store.listen(delivery_stats.CHANNEL, self._breakers.complained)
        self._running = [self._tasks.every(name, interval, run) for name, interval, run in self._jobs()]

    def configure(self, settings: Settings) -> None:
        """Work by reloaded settings, from each job's next round on."""
        self._settings = settings

    async def stop(self) -> None:
        """End what runs. Who closes the store next ends what does not: the driver may wait for the server's word on a
        statement that it has cancelled."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=ENDED_WITHIN)

    def _jobs(self) -> Jobs:
        reap_every = self._settings.database.lease / REAPS_PER_LEASE
        return (
            (BackgroundTask.DATABASE, DATABASE_INTERVAL, self._ask_database),
            (BackgroundTask.DEAD_LEASES, reap_every, self._release_dead_leases),
            (BackgroundTask.CLOCK, CHECK_EVERY, self._keep_times),
            (BackgroundTask.CONTENT_RING, CONTENT_INTERVAL, self._turn_content_ring),
            (BackgroundTask.QUEUE_SIZE, MEASURE_INTERVAL, self._measure),
            (BackgroundTask.RETENTION, SWEEP_INTERVAL, self._sweep),
            (BackgroundTask.MAILING_HOLDS, MAILING_INTERVAL, self._sweep_mailings),
            (BackgroundTask.SENDER_DOMAINS, VERIFICATION_INTERVAL, self._verify_domains),
            (BackgroundTask.BREAKER_WATCH, BREAKER_INTERVAL, self._check_breakers),
            (BackgroundTask.AUTOMATION, AUTOMATION_INTERVAL, self._run_automation),
            (BackgroundTask.SOURCE_CHECKS, SOURCE_INTERVAL, self._check_sources),
            (BackgroundTask.BLOCKLISTS, BLOCKLIST_INTERVAL, self._check_blocklists),
            (BackgroundTask.COMPLAINT_DEADLINES, COMPLAINT_INTERVAL, self._run_deadlines),
            (BackgroundTask.SIGN_UPS, SIGN_UP_INTERVAL, self._send_sign_ups),
            (BackgroundTask.ADDRESS_LISTS, LIST_INTERVAL, self._check_lists),
            (BackgroundTask.TLS_POLICIES, TLS_INTERVAL, self._refresh_tls_policies),
            (BackgroundTask.TLS_REPORTS, TLS_INTERVAL, self._send_tls_reports),
        )

    # --- the database and the queue

    async def _ask_database(self) -> None:
        """Let the metric say whether the database answers."""
        try:
            await self._store.ping()
        except StoreUnavailable:
            self._metrics.database_up.set(0)
            raise
        self._metrics.database_up.set(1)

    async def _release_dead_leases(self) -> None:
        """Release what dead workers held. Frequent, to distinguish a silent worker from an unavailable database."""
        await self._store.lease.reap()

    async def _keep_times(self) -> None:
        """Keep the queue's times right when the database's clock is set."""
        settings = self._settings
        await self._store.clock.repair(settings.queue.expire_after + settings.submission.limits.send_delay)

    async def _turn_content_ring(self) -> None:
        """Empty the slots of content that is not needed any more."""
        began = time.monotonic()
        await self._store.content_ring.turn()
        await asyncio.sleep(SHARE * (time.monotonic() - began))

    async def _measure(self) -> None:
        """Set the gauges that only the database knows."""
        began = time.monotonic()
        counts = await self._store.queue.count_states()
        for state in QueueState:
            self._metrics.queue[state].set(counts.get(state.value, 0))
        self._metrics.queue_oldest.set(await self._store.queue.oldest_unexpired_age())
        self._metrics.queue_late.set(await self._store.queue.late())
        self._metrics.queue_measured.set(time.time())
        # Counting a queue of millions takes a while: it may take a twentieth of the time at most.
        await asyncio.sleep(SHARE * (time.monotonic() - began))

    async def _sweep(self) -> None:
        """Delete what is older than its retention."""
        store, retention = self._store, self._settings.retention
        await store.messages.sweep(retention.messages)
        await store.data_subjects.forget(retention)
        await store.breakers.forget()
        await store.shaping_actions.forget()
        await store.reply_counts.forget()
        await store.source_checks.forget()
        await store.warmup_days.forget()
        await store.report_queue.sweep()
        await store.reports.sweep()
        await store.sts_policies.sweep()
        await store.tls_results.sweep()
        await store.web_sessions.sweep()

    async def _sweep_mailings(self) -> None:
        """Release or hold what was queued while its mailing was being confirmed, released or stopped."""
        await self._store.mailings.sweep()

    # --- accounts and reputation

    async def _verify_domains(self) -> None:
        """Verify the sender domains that are due, with an empty DNS cache each time."""
        await verify_due(self._settings, self._store, Resolver(self._settings))

    async def _check_breakers(self) -> None:
        """Check the breakers: every minute, and at once after a complaint."""
        await self._breakers.look(self._settings, self._store)
        await self._breakers.pause()

    async def _run_automation(self) -> None:
        """Judge the windows of the automation rules, and end what follows from actions that are over."""
        await self._automation.run(self._settings, self._store)

    async def _check_sources(self) -> None:
        """Check the addresses that mail is sent from, and how those that warm up do."""
        await self._sources.look(self._settings, self._store)
        today = datetime.now(UTC).date()
        paused = [day for day in await self._store.warmup_days.latest() if day.day == today and day.paused]
        self._metrics.warmup_paused.set(len(paused))

    async def _check_blocklists(self) -> None:
        """Query the blocklists that are due."""
        await self._blocklists.look(self._settings, self._store)

    async def _run_deadlines(self) -> None:
        """Notify accounts of complaints, and act on expired deadlines."""
        if self._complaints is None or self._complaints.settings is not self._settings:
            self._complaints = await open_notifier(self._settings, self._store)
        await run_deadlines(self._complaints, self._store)

    async def _send_sign_ups(self) -> None:
        """Ask the people who filled in a form to confirm it."""
        await send_requests(self._settings, self._store, self._metrics)

    async def _check_lists(self) -> None:
        """Check the lists that were imported or have grown."""
        await list_findings.check(self._store, load_handling(self._settings.policy.profiles))

    # --- TLS

    async def _refresh_tls_policies(self) -> None:
        """Fetch MTA-STS policies again before they expire."""
        resolver = Resolver(self._settings, self._metrics, sts_store=self._store.sts_policies)
        try:
            if resolver.sts_policies:
                await resolver.sts_policies.refresh(TLS_POLICIES)
        finally:
            await resolver.close()

    async def _send_tls_reports(self) -> None:
        """Send the TLS reports that are due."""
        if self._settings.egress.tls_reports:
            await send_due_reports(self._settings, self._store, self._metrics)
