"""Start the database and the child processes, watch them, run the periodic jobs, reload, and stop everything in order.

    lock and pid file ▶ sockets ▶ database ▶ migrations ▶ workers, web ▶ watch ▶ stop in reverse

Listening sockets are bound here and shared by all workers, and those of HTTP by all web processes: whoever is free
takes the next connection, so that none waits for a process that hangs or has died, and only the supervisor needs the
right to bind low ports.

Invariants:
    The supervisor handles no mail.
    A bad configuration file changes nothing in a running service: it is reported, and the old settings stay.

Limitations: the number of processes, the listeners and the database URL are read at the start only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pwd
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from config.changes import described, waiting_for_restart
from config.schema import Settings
from config.toml import DEFAULTS, ConfigError, read_text
from mta.admin.desk import list_findings
from mta.admin.desk.complaint_notifier import ComplaintNotifier
from mta.admin.service.reload import ReloadReply
from mta.delivery.mx import Resolver
from mta.observe import exposition
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch, kept_on
from mta.observe.labels import BackgroundTask, QueueState, Success
from mta.observe.log import Sparingly, get_logger
from mta.observe.metrics import Metrics
from mta.observe.shared_counters import create_file
from mta.service.bound_sockets import BoundSockets, bind_all, numbered
from mta.service.child import Child
from mta.service.config_validation import load_valid, validate_profiles
from mta.service.control_channel import Reopen, Start, web_name
from mta.service.fork_server import ForkServer
from mta.service.jobs.automation import AutomationJob
from mta.service.jobs.blocklists import BlocklistWatch
from mta.service.jobs.breakers import BreakerWatch
from mta.service.jobs.complaints import open_notifier, run_deadlines
from mta.service.jobs.domain_verification import verify_due
from mta.service.jobs.sign_ups import send_requests
from mta.service.jobs.source_checks import SourceWatch
from mta.service.jobs.tls_reports import send_due_reports
from mta.service.offered import offered
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.queue.clock import CHECK_EVERY
from mta.store.reputation import delivery_stats
from mta.store.store import Store, StoreUnavailable

log = get_logger()

T = TypeVar("T")

WORKER, WEB = "mta.service.worker", "mta.service.web_process"
STATE_INTERVAL = 1.0  # seconds, as all that follow
DATABASE_INTERVAL = 1.0
BLOCKLIST_INTERVAL = 2.0
COMPLAINT_INTERVAL = 2.0
LIST_INTERVAL = 60.0
SIGN_UP_INTERVAL = 1.0
CONTENT_SHARE = 20  # times as long as it took, that emptying content pauses
MEASURE_INTERVAL = 5.0
MAILING_INTERVAL = 10.0
VERIFICATION_INTERVAL = 60.0
SOURCE_INTERVAL = 60.0
TLS_INTERVAL = 60.0
SWEEP_INTERVAL = 600.0
TLS_POLICIES = 50  # fetched again in one round
KILLED_WITHIN = 10.0
HUNG_AFTER_LEASES = 2  # a child that has not reported for so long is replaced,
HUNG_ALONE_AFTER = 15.0  # or, if no other one can do its work, after so many seconds
REAPS_PER_LEASE = 6  # how often dead workers are looked for within the length of a lease


class AlreadyRunning(Exception):
    """Another service uses the same data directory."""


class Supervisor:
    """The parent of the worker and web processes.

    ``path``: the configuration file (None: the shipped defaults), read again at each reload. ``run`` closes
    ``fork_server``. ``embedded``: our own PostgreSQL, if it has been started already.
    """

    def __init__(
        self,
        path: Path | None,
        settings: Settings,
        fork_server: ForkServer,
        embedded: EmbeddedPostgres | None = None,
    ) -> None:
        self._path = path
        self._settings = self._started_with = settings
        self._fork_server = fork_server
        self._run_dir = settings.server.data_dir / "run"
        self._disk = DiskWatch(kept_on(settings.server.data_dir, own_database=settings.database.url is None))
        self._embedded = embedded
        self._database_lines = Sparingly()
        self._complaints: ComplaintNotifier | None = None
        self._children: list[Child] = []
        self._stopping = asyncio.Event()
        self._ready = False  # every child has reported once

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises AlreadyRunning, OSError (a port is taken), StoreUnavailable."""
        self._handle_signals()
        for folder in (self._run_dir, self._settings.server.data_dir / "tls"):
            _make_folder(folder, self._settings.server.user)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._fork_server.close)
            stack.enter_context(_locked(self._run_dir))
            groups = [provider.name for provider in self._settings.shaping.providers]
            exposition.prepare(self._run_dir, groups)
            self._metrics = Metrics.open(self._run_dir)
            self._tasks = BackgroundTasks(self._metrics)
            self._metrics.workers_wanted.set(self._workers)
            self._metrics.config_loaded.set(time.time())
            self._keep_config()
            sockets = await bind_all(self._settings, stack)
            dsn = await self._database(stack)
            server = self._settings.server
            secrets = Secrets.load_or_create(server.secret_file or server.data_dir / "secret")
            store = await self._unless_stopped(self._open(dsn, secrets))
            if store is not None:
                stack.push_async_callback(store.close)
                sockets.listen()
                self._children = self._make_children(dsn, secrets.root, sockets)
                await self._watch(store)

    # --- starting

    async def _open(self, dsn: str, secrets: Secrets) -> Store:
        await migrate(dsn)
        return await Store.open(dsn, self._settings.database, secrets, self._metrics, self._tasks, freely=1)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of ``work``, None if the service is stopped meanwhile. Raises what ``work`` raises."""
        working, stopped = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopped):
            task.cancel()
        (outcome, _) = await asyncio.gather(working, stopped, return_exceptions=True)
        if isinstance(outcome, asyncio.CancelledError):
            return None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    @property
    def _workers(self) -> int:
        wanted = self._settings.server.workers
        return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted

    async def _database(self, stack: contextlib.AsyncExitStack) -> str:
        if url := self._settings.database.url:
            return url
        self._embedded = self._embedded or EmbeddedPostgres.of(self._settings)
        stack.push_async_callback(asyncio.to_thread, self._embedded.stop)
        return await asyncio.to_thread(self._embedded.start)

    def _make_children(self, dsn: str, secret: bytes, sockets: BoundSockets) -> list[Child]:
        start = Start(0, self._settings, dsn, secret, self._run_dir, config_file=self._path)
        web = replace(start, web_ports=tuple(sockets.web))
        worker = replace(
            start,
            listeners=numbered(sockets.submission),
            report_listeners=numbered(sockets.reports, after=len(sockets.submission)),
        )
        shared = sockets.of_workers
        workers = [replace(worker, index=n) for n in range(self._workers)]
        webs = [replace(web, index=n) for n in range(self._settings.web.processes)]
        return [
            *(self._make_child(f"worker-{each.index}", WORKER, each, shared, len(workers)) for each in workers),
            *(self._make_child(web_name(each.index), WEB, each, sockets.of_web, len(webs)) for each in webs),
        ]

    def _make_child(
        self, name: str, module: str, start: Start, sockets: tuple[socket.socket, ...], siblings: int
    ) -> Child:
        """``siblings``: how many there are of its kind, itself included, which do its work while it hangs."""
        leases = HUNG_AFTER_LEASES * self._settings.database.lease
        return Child(
            self._fork_server,
            name,
            module,
            start.reloaded(self._settings),  # there may have been a reload since the sockets were bound
            sockets,
            user=self._settings.server.user,
            patience=min(leases, HUNG_ALONE_AFTER) if siblings == 1 else leases,
            ready=self._write_state,
            ended=self._child_ended,
            reload_asked=self._reload,
        )

    # --- watching

    async def _watch(self, store: Store) -> None:
        """Run the children and the periodic jobs until the service is stopped."""
        self._breakers, self._blocklists = BreakerWatch(self._metrics), BlocklistWatch(self._metrics)
        self._automation, self._sources = AutomationJob(self._metrics), SourceWatch(self._metrics)
        await store.listen(delivery_stats.CHANNEL, self._breakers.complained)
        reap_every = self._settings.database.lease / REAPS_PER_LEASE
        jobs: tuple[tuple[BackgroundTask, float, Callable[[Store], Awaitable[None]]], ...] = (
            (BackgroundTask.STATUS, STATE_INTERVAL, self._report_state),
            (BackgroundTask.DATABASE, DATABASE_INTERVAL, self._restart_database),
            (BackgroundTask.DEAD_LEASES, reap_every, self._release_dead_leases),
            (BackgroundTask.CLOCK, CHECK_EVERY, self._keep_times),
            (BackgroundTask.CONTENT_RING, STATE_INTERVAL, self._turn_content_ring),
            (BackgroundTask.QUEUE_SIZE, MEASURE_INTERVAL, self._measure),
            (BackgroundTask.RETENTION, SWEEP_INTERVAL, self._sweep),
            (BackgroundTask.MAILING_HOLDS, MAILING_INTERVAL, self._sweep_mailings),
            (BackgroundTask.SENDER_DOMAINS, VERIFICATION_INTERVAL, self._verify_domains),
            (BackgroundTask.BREAKER_WATCH, STATE_INTERVAL, self._check_breakers),
            (BackgroundTask.AUTOMATION, STATE_INTERVAL, self._run_automation),
            (BackgroundTask.SOURCE_CHECKS, SOURCE_INTERVAL, self._check_sources),
            (BackgroundTask.BLOCKLISTS, BLOCKLIST_INTERVAL, self._check_blocklists),
            (BackgroundTask.COMPLAINT_DEADLINES, COMPLAINT_INTERVAL, self._run_deadlines),
            (BackgroundTask.SIGN_UPS, SIGN_UP_INTERVAL, self._send_sign_ups),
            (BackgroundTask.ADDRESS_LISTS, LIST_INTERVAL, self._check_lists),
            (BackgroundTask.TLS_POLICIES, TLS_INTERVAL, self._refresh_tls_policies),
            (BackgroundTask.TLS_REPORTS, TLS_INTERVAL, self._send_tls_reports),
        )
        children = [self._tasks.start(BackgroundTask.CHILD, child.run) for child in self._children]
        periodic = [self._tasks.every(name, interval, partial(run, store)) for name, interval, run in jobs]
        try:
            await self._stopping.wait()
            await self._stop_children(children)
        finally:
            for task in (*periodic, *children):
                task.cancel()
            await asyncio.gather(*periodic, *children, return_exceptions=True)

    async def _stop_children(self, children: list[asyncio.Task[None]]) -> None:
        log.info("stopping", grace=self._settings.server.shutdown_grace)
        for child in self._children:
            child.stop()
        await asyncio.wait(children, timeout=2 * self._settings.server.shutdown_grace + 5)
        for child in self._children:
            if child.pid is not None:
                log.error("child killed: did not stop in time", child=child.name)
                child.kill()
        await asyncio.wait(children, timeout=KILLED_WITHIN)

    def _child_ended(self, pid: int) -> None:
        exposition.mark_dead(self._run_dir, pid)
        if not self._stopping.is_set():
            self._metrics.worker_restarts.inc()
        self._write_state()

    async def _restart_database(self, store: Store) -> None:
        """Start our own PostgreSQL again if it has ended by itself."""
        try:
            await store.ping()
        except StoreUnavailable:
            self._metrics.database_up.set(0)
            if self._embedded is None:
                raise
            try:
                await asyncio.to_thread(self._embedded.start)
            except EmbeddedError as error:
                if count := self._database_lines.due():
                    log.error("database not started", reason=str(error), tries=count)

    async def _release_dead_leases(self, store: Store) -> None:
        """Release what dead workers held. Frequent, to distinguish a silent worker from an unavailable database."""
        await store.lease.reap()

    async def _keep_times(self, store: Store) -> None:
        """Keep the queue's times right when the database's clock is set."""
        settings = self._settings
        await store.clock.repair(settings.queue.expire_after + settings.submission.limits.send_delay)

    async def _turn_content_ring(self, store: Store) -> None:
        """Empty the slots of content that is not needed any more."""
        began = time.monotonic()
        await store.content_ring.turn()
        await asyncio.sleep(CONTENT_SHARE * (time.monotonic() - began))

    async def _measure(self, store: Store) -> None:
        """Set the gauges that only the database knows."""
        began = time.monotonic()
        counts = await store.queue.count_states()
        for state in QueueState:
            self._metrics.queue[state].set(counts.get(state.value, 0))
        self._metrics.queue_oldest.set(await store.queue.oldest_unexpired_age())
        self._metrics.queue_late.set(await store.queue.late())
        self._metrics.queue_measured.set(time.time())
        self._metrics.database_up.set(1)
        # Counting a queue of millions takes a while: it may take a twentieth of the time at most.
        await asyncio.sleep(20 * (time.monotonic() - began))

    async def _sweep(self, store: Store) -> None:
        """Delete what is older than its retention."""
        await store.messages.sweep(self._settings.retention.messages)
        await store.data_subjects.forget(self._settings.retention)
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

    async def _sweep_mailings(self, store: Store) -> None:
        """Release or hold what was queued while its mailing was being confirmed, released or stopped."""
        await store.mailings.sweep()

    async def _verify_domains(self, store: Store) -> None:
        """Verify the sender domains that are due, with an empty DNS cache each time."""
        await verify_due(self._settings, store, Resolver(self._settings))

    async def _check_breakers(self, store: Store) -> None:
        """Check the breakers: every minute, and at once after a complaint."""
        await self._breakers.look(self._settings, store)
        await self._breakers.pause()

    async def _run_automation(self, store: Store) -> None:
        """Judge the windows of the automation rules, and end what follows from actions that are over."""
        await self._automation.run(self._settings, store)

    async def _check_sources(self, store: Store) -> None:
        """Check the addresses that mail is sent from, and how those that warm up do."""
        await self._sources.look(self._settings, store)
        today = datetime.now(UTC).date()
        paused = [day for day in await store.warmup_days.latest() if day.day == today and day.paused]
        self._metrics.warmup_paused.set(len(paused))

    async def _check_blocklists(self, store: Store) -> None:
        """Query the blocklists that are due."""
        await self._blocklists.look(self._settings, store)

    async def _check_lists(self, store: Store) -> None:
        """Check the lists that were imported or have grown."""
        await list_findings.check(store, validate_profiles(self._settings))

    async def _run_deadlines(self, store: Store) -> None:
        """Notify accounts of complaints, and act on expired deadlines."""
        if self._complaints is None or self._complaints.settings is not self._settings:
            self._complaints = await open_notifier(self._settings, store)
        await run_deadlines(self._complaints, store)

    async def _send_sign_ups(self, store: Store) -> None:
        """Ask the people who filled in a form to confirm it."""
        await send_requests(self._settings, store, self._metrics)

    async def _refresh_tls_policies(self, store: Store) -> None:
        """Fetch MTA-STS policies again before they expire."""
        resolver = Resolver(self._settings, self._metrics, sts_store=store.sts_policies)
        try:
            if resolver.sts_policies:
                await resolver.sts_policies.refresh(TLS_POLICIES)
        finally:
            await resolver.close()

    async def _send_tls_reports(self, store: Store) -> None:
        """Send the TLS reports that are due."""
        if self._settings.egress.tls_reports:
            await send_due_reports(self._settings, store, self._metrics)

    async def _report_state(self, _: Store) -> None:
        for child in self._children:
            if not self._stopping.is_set() and child.kill_if_silent():
                self._metrics.processes_hung.inc()
        self._disk.report(self._metrics)
        self._write_state()

    def _write_state(self) -> None:
        """Write the state of the children, for /readyz and `mta top`."""
        state = {
            "at": time.time(),
            "pid": os.getpid(),
            "failing_tasks": self._tasks.failing(),
            "children": [
                {"name": child.name, "pid": child.pid, "seen_at": child.seen_at, "restarts": child.restarts}
                | child.report
                for child in self._children
            ],
        }
        _write(self._run_dir / "state.json", orjson.dumps(state))
        if not self._ready and all(child.seen_at for child in self._children):
            self._ready = True
            log.info("ready", **offered(self._settings))

    # --- signals

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)

    def _reload(self, dry_run: bool = False) -> ReloadReply:
        """Read the configuration file again and pass it to the children. With any mistake in it, change nothing."""
        try:
            valid = load_valid(self._path)
        except ConfigError as error:
            reply = ReloadReply(mistakes=error.lines)
        else:
            changes = described(self._settings, valid.settings)
            waiting = waiting_for_restart(self._started_with, valid.settings)
            reply = ReloadReply((), changes, waiting, valid.remarks, valid.settings, self._settings)
        if not dry_run:
            self._apply(reply)
        return reply

    def _apply(self, reply: ReloadReply) -> None:
        """Use the settings that were read, if there are any, and answer `mta reload`."""
        mistakes, settings = list(reply.mistakes), reply.settings
        if settings is None:
            log.error("configuration not reloaded", mistakes=mistakes)
        else:
            self._settings = settings
            exposition.add_providers(self._run_dir, [each.name for each in settings.shaping.providers])
            for child in self._children:
                child.reload(settings)
            self._metrics.config_loaded.set(time.time())
            self._keep_config()
            log.info("configuration reloaded", after_a_restart=reply.waiting)
            for remark in reply.remarks:
                log.warning("configuration", remark=remark)
        self._metrics.reloads[Success.NO if mistakes else Success.YES].inc()
        answer = {
            "at": datetime.now(UTC).isoformat(),
            "ok": not mistakes,
            "lines": mistakes,
            "changes": reply.changes,
            "waiting": reply.waiting,
        }
        _write(self._run_dir / "reload.json", orjson.dumps(answer))

    def _keep_config(self) -> None:
        """Keep the text of the configuration in use, for `mta reload --dry-run`."""
        path = self._path or DEFAULTS / "mta.toml"
        try:
            kept = {"name": str(path), "base": str(path.absolute().parent), "text": read_text(path)}
        except ConfigError as error:  # it is gone again; what is in use stays
            log.warning("configuration not kept", mistakes=error.lines)
            return
        _write(self._run_dir / "config.json", orjson.dumps(kept))

    def _reopen(self) -> None:
        for child in self._children:
            child.send(Reopen())


def _make_folder(folder: Path, user: str | None) -> None:
    """Make a folder in which the children, which may run as ``user``, can write. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user and os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)


@contextlib.contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Lock ``run_dir`` for this process. The pid in the lock file is for people and for `mta reload`.

    Raises AlreadyRunning, OSError.
    """
    fd = os.open(run_dir / "supervisor.pid", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(fd, 20).decode().strip()
        os.close(fd)
        raise AlreadyRunning(f"process {pid or '?'} already serves {run_dir.parent}") from None
    os.ftruncate(fd, 0)
    os.write(fd, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        os.ftruncate(fd, 0)
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    """Replace a small file that may be read at any moment. Its folder may belong to another user."""
    draft = path.with_suffix(".new")
    try:
        draft.unlink(missing_ok=True)
        with open(create_file(draft), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        log.warning("file not written", path=str(path), reason=error.strerror)
