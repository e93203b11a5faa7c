"""Run the web process: serve HTTP and send webhooks, started by the supervisor like a worker.

It is a process of its own so that HTTP requests do not delay mail, nor mail HTTP requests. Monitoring, the pages for
recipients and the API are three applications on three ports; several processes share their sockets. The first one runs
the periodic jobs as well.

Invariants: the web process ends with its supervisor. Mail depends on some of the jobs, so they run even while HTTP
cannot be served.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from typing import TYPE_CHECKING, assert_never

import uvloop

from config.schema import Settings
from config.toml import ConfigError
from mta.admin.errors import Refused
from mta.admin.service.reload import ReloadReply
from mta.observe import log as logging
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch, kept_on
from mta.observe.labels import BackgroundTask
from mta.observe.log import get_logger
from mta.observe.loop_watch import watch_loop
from mta.observe.metrics import Metrics, sample_process
from mta.service import control_channel
from mta.service.composition import open_tokens, spare_collector
from mta.service.control_channel import Reload, ReloadAnswer, ReloadRequest, Reopen, Start, web_name
from mta.service.periodic_jobs import PeriodicJobs
from mta.smtp_server.tls import CertificateError
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store, StoreUnavailable
from mta.web.asgi import Receive, Scope, Send, send_unavailable
from mta.web.monitoring import monitoring_app
from mta.web.pages.rates import RateHistory
from mta.web.readiness import ServiceReadiness
from mta.web.server import HttpLimits, HttpServer, PlainPort
from mta.web.webhook_sender import WebhookSender

if TYPE_CHECKING:
    from mta.service.admin_side import AdminSide
    from mta.web.public import PublicPages

log = get_logger()

STATUS_EVERY = 1.0  # seconds
RETRY_AFTER = 5  # seconds
ADMIN_LIMITS = HttpLimits(connections=1000, per_client=500, idle=60.0, lifetime=3600.0)
ANSWER_WITHIN = 30.0  # seconds that the supervisor may take to read the configuration
OPEN_AGAIN = 65.0  # seconds after which a process that cannot serve HTTP ends: its successor then starts at once


class PublicSide:
    """The pages for recipients and their server, if a port is configured; else they are not even imported."""

    def __init__(self, store: Store, secrets: Secrets, metrics: Metrics) -> None:
        self._store, self._secrets, self._metrics = store, secrets, metrics
        self._served: tuple[PublicPages, HttpServer] | None = None

    async def open(self, settings: Settings, bound: socket.socket | None = None) -> None:
        """Start to listen. Raises OSError if the port is taken, CertificateError."""
        if settings.web.public.port is not None:
            from mta.web.public import PublicPages  # noqa: PLC0415 - with what they import they take 8 MiB
            from mta.web.sign_up import FormClock  # noqa: PLC0415

            tokens, clock = open_tokens(settings, self._secrets), FormClock(self._secrets.derive("form clock"))
            pages = PublicPages(self._store, tokens, clock, settings, self._metrics)
            server = HttpServer(pages.app, "web.public")
            self._served = pages, server
            await server.open(settings.web.public, bound)
        elif settings.web.public.url:
            log.warning("unsubscribe pages not served here: web.public.url is set, web.public.port is not")

    def check(self, settings: Settings) -> None:
        """Raises CertificateError if ``configure`` would."""
        if self._served:
            self._served[1].check(settings.web.public)

    def configure(self, settings: Settings) -> None:
        """Apply reloaded settings. Raises CertificateError; then nothing has changed."""
        if self._served:
            pages, server = self._served
            server.configure(settings.web.public)
            pages.configure(settings, open_tokens(settings, self._secrets))

    async def close(self) -> None:
        if self._served:
            await self._served[1].close()


class SupervisorLink:
    """What the supervisor is asked for, and its answers."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[ReloadReply]] = {}

    async def reload(self, *, dry_run: bool) -> ReloadReply:
        """Raises Refused if there is no answer."""
        number = next(self._numbers)
        answer: asyncio.Future[ReloadReply] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            control_channel.ask(self._writer, ReloadRequest(number, dry_run))
            async with asyncio.timeout(ANSWER_WITHIN):
                return await answer
        except TimeoutError:
            raise Refused(f"the supervisor did not answer within {ANSWER_WITHIN:g} s; see its log") from None
        finally:
            del self._asked[number]

    def answered(self, answer: ReloadAnswer) -> None:
        """Give an answer to who waits for it."""
        waiting = self._asked.get(answer.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.reply)


class AdminListener:
    """The port of the API and the pages, if it is configured. They are built with the first request."""

    def __init__(
        self,
        start: Start,
        store: Store,
        secrets: Secrets,
        metrics: Metrics,
        readiness: ServiceReadiness,
        disk: DiskWatch,
        link: SupervisorLink,
        tasks: BackgroundTasks,
    ) -> None:
        self._parts = store, secrets, metrics, readiness, disk, link
        self._start, self._settings, self._tasks = start, start.settings, tasks
        self._rates = RateHistory(start.run_dir)
        self._server = HttpServer(self._serve, "web.admin", ADMIN_LIMITS)
        self._side: AdminSide | None = None
        self._building = asyncio.Lock()
        self._counting: asyncio.Task[None] | None = None

    async def open(self, settings: Settings, bound: socket.socket | None = None) -> None:
        """Start to listen. Raises OSError if the port is taken, CertificateError."""
        if settings.web.admin.port is not None:
            await self._server.open(settings.web.admin, bound)
            self._counting = self._tasks.start(BackgroundTask.RATE_HISTORY, self._rates.run)

    def configure(self, settings: Settings) -> None:
        """Apply reloaded settings. Raises CertificateError, ConfigError; then nothing has changed."""
        self._server.check(settings.web.admin)
        if self._side:
            self._side.configure(settings)
        self._settings = settings
        self._server.configure(settings.web.admin)

    def reopen(self) -> None:
        """Reopen the event log, whose file was moved away."""
        if self._side:
            self._side.submission.events.reopen()

    async def close(self) -> None:
        if self._counting:
            self._counting.cancel()
        await self._server.close()
        if self._side:
            await self._side.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._side is None:
            try:
                await self._build()
            except (StoreUnavailable, ConfigError) as error:
                log.error("API and pages not started", reason=str(error))
                return await send_unavailable(send, RETRY_AFTER)
        assert self._side
        return await self._side.app(scope, receive, send)

    async def _build(self) -> None:
        """Build what serves the requests, once. Raises StoreUnavailable, ConfigError."""
        async with self._building:
            if self._side is None:
                module = await asyncio.to_thread(importlib.import_module, "mta.service.admin_side")
                settings = self._settings
                side: AdminSide = module.AdminSide(self._start, settings, *self._parts, self._rates)
                try:
                    await side.start(self._tasks)
                    if self._settings is not settings:  # a reload came meanwhile
                        side.configure(self._settings)
                except BaseException:
                    await side.close()
                    raise
                self._side = side
                gc.freeze()  # as at the start, but without a collection, for which all requests would wait


async def _main(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
    begun = await control_channel.begin(control)
    if begun is None:
        return
    reader, writer, start = begun
    name = web_name(start.index)
    logging.configure(start.settings.observe.log_level, process=name)
    bound = dict(zip(start.web_ports, sockets, strict=True))
    metrics = Metrics.open(start.run_dir)
    async with AsyncExitStack() as stack:
        tasks = BackgroundTasks(metrics)
        link = SupervisorLink(writer)
        store = await _open_store(stack, start, metrics, tasks)
        jobs = PeriodicJobs(start.settings, store, metrics, tasks) if start.index == 0 else None
        if jobs:
            stack.push_async_callback(jobs.stop)
            await jobs.start()
        try:
            public, admin = await _open_ports(stack, start, store, bound, metrics, tasks, link)
        except (OSError, CertificateError, ConfigError) as error:
            log.error("HTTP not served", reason=str(error))
            if jobs:
                await _told_within(OPEN_AGAIN, reader)
            raise SystemExit(1) from None
        webhooks, private = start.settings.web.webhooks, start.settings.testing.private_webhooks
        sender = WebhookSender(store, webhooks, metrics, tasks, allow_private=private)
        stack.push_async_callback(sender.stop)
        spare_collector()
        own = [
            tasks.start(BackgroundTask.PROCESS_METRICS, lambda: sample_process(metrics)),
            tasks.start(BackgroundTask.LOOP_WATCH, lambda: watch_loop(metrics)),
            tasks.every(BackgroundTask.STATUS, STATUS_EVERY, lambda: _report_status(writer, tasks)),
        ]
        while (message := await control_channel.receive(reader)) is not None:
            match message:
                case Reload(settings):
                    if _configure(public, admin, settings):
                        logging.configure(settings.observe.log_level, process=name)
                        if jobs:
                            jobs.configure(settings)
                        sender.configure(settings.web.webhooks, allow_private=settings.testing.private_webhooks)
                case Reopen():
                    admin.reopen()
                case ReloadAnswer():
                    link.answered(message)
                case Start():
                    log.error("message ignored: it is not for a running web process", kind=type(message).__name__)
                case _:
                    assert_never(message)
        for task in own:
            task.cancel()
    writer.close()


async def _open_store(stack: AsyncExitStack, start: Start, metrics: Metrics, tasks: BackgroundTasks) -> Store:
    """Return the store, until ``stack`` is closed. Raises SystemExit, with the reason in the log."""
    try:
        store = await Store.open(start.dsn, start.settings.database, Secrets(start.secret), metrics, tasks)
    except StoreUnavailable as error:
        log.error("web process not started", reason=str(error))
        raise SystemExit(1) from None
    stack.push_async_callback(store.close)
    return store


async def _open_ports(
    stack: AsyncExitStack,
    start: Start,
    store: Store,
    bound: Mapping[str, socket.socket],
    metrics: Metrics,
    tasks: BackgroundTasks,
    link: SupervisorLink,
) -> tuple[PublicSide, AdminListener]:
    """Serve all ports until ``stack`` is closed. Raises OSError, CertificateError, ConfigError."""
    settings, secrets = start.settings, Secrets(start.secret)
    disk = DiskWatch(kept_on(settings.server.data_dir, own_database=settings.database.url is None))
    readiness = ServiceReadiness(store, start.run_dir, disk)
    monitoring = HttpServer(monitoring_app(readiness, start.run_dir), "web")
    stack.push_async_callback(monitoring.close)
    await monitoring.open(PlainPort(settings.web.address, settings.web.port), bound["web"])
    public = PublicSide(store, secrets, metrics)
    stack.push_async_callback(public.close)
    await public.open(settings, bound.get("web.public"))
    admin = AdminListener(start, store, secrets, metrics, readiness, disk, link, tasks)
    stack.push_async_callback(admin.close)
    await admin.open(settings, bound.get("web.admin"))
    return public, admin


async def _told_within(seconds: float, reader: asyncio.StreamReader) -> None:
    """Wait until the supervisor says anything, such as to stop, or until ``seconds`` have passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await control_channel.receive(reader)


def _configure(public: PublicSide, admin: AdminListener, settings: Settings) -> bool:
    """Apply reloaded settings to what is served; return False if the old ones stay in use."""
    try:
        public.check(settings)
        admin.configure(settings)
        public.configure(settings)
    except (CertificateError, ConfigError) as error:  # a file has changed since the supervisor read it
        log.error("reloaded settings not applied: the old ones stay in use", reason=str(error))
        return False
    return True


async def _report_status(writer: asyncio.StreamWriter, tasks: BackgroundTasks) -> None:
    control_channel.report(writer, {"failing_tasks": tasks.failing()})


def main(control: socket.socket, sockets: Sequence[socket.socket]) -> None:
    """Serve HTTP until ``control`` ends."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(control, sockets))
