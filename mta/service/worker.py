"""Run one worker: a whole MTA in one process, whose parts are put together here and nowhere else.

The fork server calls ``main`` with a socket to the supervisor and the listening sockets. The supervisor sends the
settings and the database URL and, later, reloaded settings. The end of its stream means stop.

Invariants: a worker ends with its supervisor. Told to stop, it finishes the sessions and attempts that are under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import platform
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import assert_never

import uvloop

from config.schema import Limits, Settings
from config.toml import ConfigError
from mta.delivery.courier import Courier
from mta.delivery.mx import Resolver
from mta.delivery.tls.session_counts import SessionCounts
from mta.dkim import KeyRing, Signer
from mta.mail.address import Address
from mta.mail.source_fault import SourceFaultKind
from mta.observe import log as logging
from mta.observe.background import BackgroundTasks, FailingTask
from mta.observe.disk import DiskWatch, kept_on
from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.observe.loop_watch import watch_loop
from mta.observe.metrics import Metrics, read_providers, sample_process
from mta.observe.trace import Trace
from mta.queue.dispatcher import Dispatcher
from mta.queue.dsn import DsnComposer
from mta.queue.internal_mail import InternalMailBuilder
from mta.reports.attribution import ReportContext
from mta.reports.smtp_handler import ReportHandler
from mta.reports.worker import ReportProcessor, ReportWorker
from mta.service import config_validation, control_channel
from mta.service.composition import open_abuse_mail_reader, open_tokens, spare_collector
from mta.service.control_channel import Reload, ReloadAnswer, Reopen, Start
from mta.service.descriptors import Descriptors, open_descriptors, raise_limit, share_out
from mta.service.event_log import open_events, reopen_events
from mta.service.loaded import Loaded
from mta.service.stored_keys import follow_stored_keys
from mta.smtp_server.auth.authenticator import Authenticator
from mta.smtp_server.listener import Listeners
from mta.smtp_server.spool import Spool
from mta.store.postgres.errors import LeaseLost, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue.clock import CHECK_EVERY
from mta.store.queue.messages import DUE
from mta.store.reputation import source_checks
from mta.store.reputation.source_checks import SourceCheck
from mta.store.store import Store
from mta.submission.accept import Submission
from policy.reputation.authorities import load_authorities

log = get_logger()

STATUS_EVERY = 1.0  # seconds
SOURCES_EVERY = 60.0  # in case a notification was missed, or the settings have changed
TLS_COUNTS_EVERY = 60.0
RENEWALS = 4  # within the length of a lease


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a worker reports every second. ``claim_age``: seconds since it last managed to claim due recipients;
    ``clock_fault``: why no message expires now, empty if it may."""

    lease: int
    active_deliveries: int
    claim_age: float
    clock_fault: str
    failing_tasks: list[FailingTask]
    descriptors: int
    descriptors_most: int


class Worker:
    """The parts of one worker, from its start to its orderly end."""

    def __init__(
        self,
        start: Start,
        sockets: Sequence[socket.socket],
        store: Store,
        secrets: Secrets,
        metrics: Metrics,
        tasks: BackgroundTasks,
    ) -> None:
        settings = start.settings
        self.settings = settings
        self.tasks = tasks
        self.descriptors = share_out(settings, raise_limit())
        disk = DiskWatch(kept_on(settings.server.data_dir, own_database=settings.database.url is None))
        self.name = f"worker-{start.index}"
        self._renew_every = settings.database.lease / RENEWALS  # a reload does not change the lease that we hold
        self.store = store
        self.secrets = secrets
        self.metrics, self._run_dir = metrics, start.run_dir
        loaded = Loaded.of(settings, secrets)
        self.events = open_events(settings, store.accounts, metrics)
        self.trace = Trace(start.run_dir / f"trace-{start.index}.sock", metrics)
        self._clock_fault = ""
        self._sources_changed = asyncio.Event()
        self.keys = KeyRing()
        self.keys.configure(loaded.submission.keys)
        self.signer = Signer(settings.signing, self.keys)
        self.tls_counts = SessionCounts()
        self.resolver = Resolver(
            settings, metrics, routes=loaded.routes, sts_store=store.sts_policies, counts=self.tls_counts
        )
        self.courier = Courier(
            settings.egress,
            settings.server.hostname,
            loaded.verp,
            loopback_receivers=settings.testing.loopback_receivers,
            trace=self.trace,
            metrics=metrics,
            events=self.events,
            counts=self.tls_counts,
            connections=self.descriptors.outbound,
        )
        metrics.connections_most.set(self.descriptors.outbound)
        store.configure(loaded.thresholds)
        self.dispatcher = Dispatcher(
            settings=settings.queue,
            egress=settings.egress,
            shaping=settings.shaping,
            store=store,
            accounts=store.accounts,
            resolver=self.resolver,
            courier=self.courier,
            dsn=self._dsn_composer(settings),
            profiles=loaded.submission.profiles,
            classifier=loaded.classifier,
            events=self.events,
            metrics=metrics,
            tasks=tasks,
            connections=self.descriptors.outbound,
        )
        self.submission = Submission(
            settings=settings,
            store=store,
            signer=self.signer,
            profiles=loaded.submission.profiles,
            traps=loaded.submission.traps,
            active_queue=self.dispatcher.active_queue,
            dispatch=self.dispatcher.submit,
            events=self.events,
            metrics=metrics,
            disk=disk,
        )
        self.listeners = Listeners(
            _limits(settings, self.descriptors),
            [(listener, sockets[place]) for listener, place in start.listeners],
            hostname=settings.server.hostname,
            tls=loaded.tls,
            handler=self.submission,
            authenticator=Authenticator(
                store.accounts, _limits(settings, self.descriptors), salt_key=secrets.derive("scram salts")
            ),
            trace=self.trace,
            events=self.events,
            metrics=metrics,
            tasks=tasks,
            spool=Spool(start.run_dir, settings.submission.limits.message_disk),
        )
        self.report_processor = ReportProcessor(
            store,
            self.resolver,
            metrics,
            InternalMailBuilder(settings, self.signer),
            self._report_context(settings, loaded),
        )
        self.report_worker = ReportWorker(store.report_queue, self.report_processor.handle, metrics)
        self.report_handler = ReportHandler(
            store.report_queue,
            domain=settings.return_path.domain,
            verp=loaded.verp,
            backlog=settings.reports.backlog,
            waiting=self.report_worker.waiting,
            arrived=self.report_worker.wake,
            metrics=metrics,
        )
        self.report_listeners = Listeners(
            _report_limits(settings, self.descriptors),
            [(listener, sockets[place]) for listener, place in start.report_listeners],
            hostname=settings.server.hostname,
            tls=loaded.tls,
            handler=self.report_handler,
            authenticator=None,
            trace=self.trace,
            events=self.events,
            metrics=metrics,
            tasks=tasks,
            postmaster_domain=settings.return_path.domain,
            disk=disk,
        )

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve until the supervisor's stream ends."""
        keys = await follow_stored_keys(self.store, self.keys, self.tasks)
        await self.store.listen("listings", lambda _: self._sources_changed.set())
        await self.store.listen(source_checks.CHANNEL, lambda _: self._sources_changed.set())
        await self.store.listen("suppressed", self.dispatcher.suppressions_changed)
        await self.store.listen("queue", self.dispatcher.queue_changed)
        await self.store.listen("retry", self.dispatcher.end_backoffs)
        await self.store.egress_limits.listen(self.dispatcher.limits.called)
        await self.store.listen(DUE, self.dispatcher.wake)
        self.store.shaping_actions.watch(self.dispatcher.actions_changed)
        tasks = [
            self.tasks.start(name, work)
            for name, work in (
                (BackgroundTask.LEASE, self._renew_lease),
                (BackgroundTask.CLAIM, self.dispatcher.run),
                (BackgroundTask.REPORTS, self.report_worker.run),
                (BackgroundTask.REPORT_BACKLOG, self.report_worker.count),
                (BackgroundTask.SOURCES, self._avoid_sources),
                (BackgroundTask.PROCESS_METRICS, lambda: sample_process(self.metrics)),
                (BackgroundTask.LOOP_WATCH, lambda: watch_loop(self.metrics)),
            )
        ]
        tasks.append(keys)
        tasks.append(self.tasks.every(BackgroundTask.CLOCK, CHECK_EVERY, self._check_clock))
        tasks.append(self.tasks.every(BackgroundTask.TLS_COUNTS, TLS_COUNTS_EVERY, self._write_tls_counts))
        try:
            await self.trace.start()
            await self.listeners.start()
            await self.report_listeners.start()
            self.metrics.workers.set(1)
            status = functools.partial(self._report_status, writer)
            tasks.append(self.tasks.every(BackgroundTask.STATUS, STATUS_EVERY, status))
            log.info("worker started", lease=self.store.lease.id)
            await self._handle_messages(reader)
        finally:
            await self._stop(tasks)

    async def _handle_messages(self, reader: asyncio.StreamReader) -> None:
        """Handle control messages until the stream ends."""
        while (message := await control_channel.receive(reader)) is not None:
            match message:
                case Reload(settings):
                    try:
                        await self.configure(settings)
                    except ConfigError as error:  # a file has changed since the supervisor read it
                        log.error("reloaded settings not applied: the old ones stay in use", reason=str(error))
                    except Exception:
                        log.exception("reloaded settings not fully applied")
                case Reopen():
                    self.events.reopen()
                case Start() | ReloadAnswer():
                    log.error("message ignored: it is not for a running worker", kind=type(message).__name__)
                case _:
                    assert_never(message)

    async def configure(self, settings: Settings) -> None:
        """Apply reloaded settings. Sessions and attempts under way keep those that they began with.

        Raises ConfigError; then nothing has changed. OSError if a listener cannot be opened again.
        """
        # First what may fail, before anything is changed.
        loaded = Loaded.of(settings, self.secrets)
        dsn, report_context = self._dsn_composer(settings), self._report_context(settings, loaded)
        reopen_events(self.events, self.settings, settings, self.metrics)
        logging.configure(settings.observe.log_level, process=self.name)
        self.settings = settings
        self.metrics.count_providers(read_providers(self._run_dir))
        self.keys.configure(loaded.submission.keys)
        self.signer.configure(settings.signing)
        self.resolver.configure(settings, loaded.routes)
        loopback = settings.testing.loopback_receivers
        self.courier.configure(settings.egress, settings.server.hostname, loaded.verp, loopback_receivers=loopback)
        self.store.configure(loaded.thresholds)
        profiles, traps = loaded.submission.profiles, loaded.submission.traps
        self.dispatcher.configure(settings.queue, settings.egress, settings.shaping, loaded.classifier, dsn, profiles)
        self.submission.configure(settings, self.signer, profiles, traps)
        self.report_processor.configure(InternalMailBuilder(settings, self.signer), report_context)
        domain = settings.return_path.domain
        self.report_handler.configure(domain, loaded.verp, settings.reports.backlog)
        self._share_out_descriptors(settings)
        await self.listeners.reload(settings.submission.listeners, _limits(settings, self.descriptors), loaded.tls)
        report_limits = _report_limits(settings, self.descriptors)
        await self.report_listeners.reload(settings.reports.listeners, report_limits, loaded.tls, domain)

    def _share_out_descriptors(self, settings: Settings) -> None:
        self.descriptors = share_out(settings, self.descriptors.limit)
        self.courier.connections = self.dispatcher.connections.most = self.descriptors.outbound
        self.metrics.connections_most.set(self.descriptors.outbound)

    def _dsn_composer(self, settings: Settings) -> DsnComposer:
        return DsnComposer(settings, self.store.accounts, self.signer)

    def _report_context(self, settings: Settings, loaded: Loaded) -> ReportContext | None:
        """Return the context that inbound reports are processed in; None without a return path domain. Raises
        ConfigError."""
        domain = settings.return_path.domain
        if domain is None or loaded.verp is None:
            return None
        forward = settings.reports.postmaster_forward
        return ReportContext(
            domain=domain,
            tokens=open_tokens(settings, self.secrets),
            verp=loaded.verp,
            classifier=loaded.classifier,
            thresholds=loaded.thresholds,
            trusted_reporters=tuple(settings.reports.trusted_reporters),
            postmaster=Address.parse(forward) if forward else None,
            abuse_mail=open_abuse_mail_reader(),
            authorities=load_authorities(),
            replies=self.store.cases.replies,
            own_domains=frozenset({domain, settings.server.hostname}),
            receipts_per_hour=settings.reports.receipts_per_hour,
            address_key=self.secrets.address_key,
        )

    async def _renew_lease(self) -> None:
        while True:
            try:
                await self.store.lease.renew()
            except LeaseLost:
                log.warning("lease lost: other workers have taken over its recipients", lease=self.store.lease.id)
                self.dispatcher.forget()
                await self.store.lease.register()
            await asyncio.sleep(self._renew_every)

    async def _check_clock(self) -> None:
        """Compare the clocks. Raises StoreUnavailable."""
        await self.store.clock.check()
        fault = self.store.clock.fault
        if fault and fault.reason != self._clock_fault:
            self.events.expiry_suspended(fault.reason, fault.seconds)
        self._clock_fault = fault.reason if fault else ""

    async def _write_tls_counts(self) -> None:
        """Write what was counted for TLS reports. Raises StoreUnavailable; then it is counted again."""
        counts = self.tls_counts.take()
        try:
            await self.store.tls_results.add(counts)
        except StoreUnavailable:
            self.tls_counts.put_back(counts)
            raise

    async def _avoid_sources(self) -> None:
        """Follow which sources are on a blocklist, missing on this machine, or not as receivers want them."""
        while True:
            self._sources_changed.clear()
            health = self.courier.sources
            health.listed = await self.store.blocklist_listings.resting(self.settings.blocklists.backoff_lists)
            checks = await self.store.source_checks.list(platform.node())
            health.absent, health.unfit = _unfit(self.settings, checks)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SOURCES_EVERY):
                    await self._sources_changed.wait()

    async def _report_status(self, writer: asyncio.StreamWriter) -> None:
        """Report to the supervisor what `mta top` shows and readiness depends on."""
        self.dispatcher.measure()
        report = WorkerStatus(
            lease=self.store.lease.id,
            active_deliveries=self.dispatcher.active_queue.deliveries,
            claim_age=self.dispatcher.claim_age,
            clock_fault=self._clock_fault,
            failing_tasks=self.tasks.failing(),
            descriptors=open_descriptors(),
            descriptors_most=self.descriptors.limit,
        )
        control_channel.report(writer, asdict(report))

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        """Stop accepting mail, finish what is under way, return the rest to the queue, then release the lease."""
        grace = self.settings.server.shutdown_grace
        await asyncio.gather(self.listeners.stop(grace), self.report_listeners.stop(grace), self.dispatcher.stop(grace))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.courier.close()
        await self.dispatcher.close()
        await self.resolver.close()
        await self.trace.stop()
        with contextlib.suppress(StoreUnavailable):
            await self._write_tls_counts()
            await self.store.lease.release()
        self.events.close()


def _limits(settings: Settings, descriptors: Descriptors) -> Limits:
    submission = settings.submission
    lenient = {"line_endings": submission.line_endings, "device_networks": submission.device_networks}
    return Limits.of(submission.limits).model_copy(update={"connections": descriptors.submission, **lenient})


def _report_limits(settings: Settings, descriptors: Descriptors) -> Limits:
    """Return the limits of submission with those that differ for reports. Reports may have lines of any length."""
    limits = Limits.of(settings.submission.limits, settings.reports.limits, line_length=100_000)
    return limits.model_copy(update={"connections": descriptors.reports})


def _unfit(settings: Settings, checks: Sequence[SourceCheck]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the sources that this machine lacks, and of those that others are to be preferred to."""
    addresses = {source.name: source.address for source in settings.egress.sources}
    absent, unfit = set[str](), set[str]()
    for check in checks:
        if addresses.get(check.source) == check.address:
            kinds = {fault.kind for fault in check.faults}
            if SourceFaultKind.ABSENT in kinds:
                absent.add(check.source)
            if kinds and settings.egress.avoid_unfit_sources:
                unfit.add(check.source)
    return frozenset(absent), frozenset(unfit)


@asynccontextmanager
async def _store(start: Start, secrets: Secrets, metrics: Metrics, tasks: BackgroundTasks) -> AsyncIterator[Store]:
    store = await Store.open(start.dsn, start.settings.database, secrets, metrics, tasks)
    try:
        await store.lease.register()
        yield store
    finally:
        await store.close()


async def _main(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
    begun = await control_channel.begin(control)
    if begun is None:
        return
    reader, writer, start = begun
    logging.configure(start.settings.observe.log_level, process=f"worker-{start.index}")
    secrets, metrics = Secrets(start.secret), Metrics.open(start.run_dir)
    tasks = BackgroundTasks(metrics)
    async with _store(start, secrets, metrics, tasks) as store:
        worker = Worker(start, sockets, store, secrets, metrics, tasks)
        spare_collector()
        # Threads that check large messages must not keep the loop waiting for longer than this each time it wakes.
        sys.setswitchinterval(0.0005)
        await worker.run(reader, writer)
    writer.close()


def warm_up() -> None:
    """Fill the caches that every configuration needs: patterns, bounce rules, profiles."""
    config_validation.warm_up()


def main(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
    """Run a worker until ``control`` ends. ``Start`` refers to the listening ``sockets`` by number."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(control, sockets))
