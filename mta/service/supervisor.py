"""The parent: starts the database and the workers, watches them, reloads, and ends them in order.

    lock and pid file ▶ database ▶ migrations ▶ sockets ▶ workers, web ▶ watch ▶ stop in reverse

Listening sockets are bound here, one for each worker and listener (SO_REUSEPORT), and handed over: a worker that dies
leaves its socket with the connections waiting on it to its successor, and only the supervisor needs the right to bind
low ports.

It must never touch mail. It must never let a bad configuration file disturb a running service: such a file is
refused with its lines, and the old settings stay.

*Limits.* The number of workers, listeners and the database's address are read at the start only.
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
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from config.load import ConfigError, load_file
from config.schema import Listener, Settings
from mta.delivery.mx import Resolver
from mta.observe import exposition
from mta.observe.labels import QueueState, Success
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.observe.shared_counters import create_file
from mta.service.child import Child
from mta.service.config_validation import validate
from mta.service.control_channel import Reopen, Sockets, Start
from mta.service.fork_server import ForkServer
from mta.service.jobs.blocklists import BlocklistWatch
from mta.service.jobs.breakers import BreakerWatch
from mta.service.jobs.complaints import ComplaintNotifier, run_deadlines
from mta.service.jobs.domain_verification import look_again
from mta.smtp_server.listener import ListenError, bind, require_free
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.reputation import delivery_stats
from mta.store.store import Store, StoreUnavailable

log = get_logger()

T = TypeVar("T")
Doors = list[tuple[Listener, socket.socket]]


@dataclass(frozen=True, slots=True)
class Bound:
    """The doors of one worker: for what is submitted, and for what comes back."""

    listeners: Doors
    returns: Doors

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return tuple(sock for _, sock in (*self.listeners, *self.returns))


FREE_WITHIN = 3.0  # seconds for workers whose supervisor was killed to let go of its ports
SWEEP_EVERY = 600.0
MEASURE_EVERY = 5.0
CHORE_EVERY = 1.0
SETTLE_EVERY = 10.0  # what was queued while its mailing was being confirmed
CASES_EVERY = 2.0  # whether an account is to be told of a complaint, or its time is over
LOOK_EVERY = 60.0  # for sender domains whose turn it is
ASK_EVERY = 2.0  # whether a blocklist is to be asked
REAPS = 6  # times that dead workers are looked for within the length of a lease


class AlreadyRunning(Exception):
    """Another service uses the same data directory."""


class Supervisor:
    """``path``: the configuration file (None: the shipped defaults), read again at each reload.

    ``run`` closes ``fork_server``. ``embedded``: the service's own PostgreSQL, if it has been started already.
    """

    def __init__(
        self,
        path: Path | None,
        settings: Settings,
        fork_server: ForkServer,
        embedded: EmbeddedPostgres | None = None,
    ) -> None:
        self._path = path
        self._settings = settings
        self._fork_server = fork_server
        self._run_dir = settings.server.data_dir / "run"
        self._embedded = embedded
        self._reap_every = settings.database.lease / REAPS
        self._sweep_at = 0.0
        self._complaints: ComplaintNotifier | None = None
        self._children: list[Child] = []
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises AlreadyRunning, OSError (a port is taken), StoreUnavailable."""
        self._handle_signals()
        for folder in (self._run_dir, self._settings.server.data_dir / "tls"):
            _give(folder, self._settings.server.user)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._fork_server.close)
            stack.enter_context(_only_one(self._run_dir))
            exposition.prepare(self._run_dir)
            self._metrics = Metrics.open(self._run_dir)
            self._metrics.workers_wanted.set(self._workers)
            self._metrics.config_loaded.set(time.time())
            sockets = await self._bind(stack)
            dsn = await self._database(stack)
            server = self._settings.server
            secrets = Secrets.load_or_create(server.secret_file or server.data_dir / "secret")
            store = await self._unless_stopped(self._open(dsn, secrets))
            if store is not None:
                stack.push_async_callback(store.close)
                self._children = self._plan(dsn, secrets.root, sockets)
                await self._watch(store)

    # --- starting

    async def _open(self, dsn: str, secrets: Secrets) -> Store:
        await migrate(dsn)
        return await Store.open(dsn, self._settings.database, secrets, self._metrics)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of ``work``; None if we are told to stop meanwhile. Raises what it raises."""
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

    async def _bind(self, stack: contextlib.AsyncExitStack) -> list[Bound]:
        """One socket for each listener and worker. Raises OSError."""
        listeners, returns = self._settings.submission.listeners, self._settings.reports.listeners
        end = time.monotonic() + FREE_WITHIN
        while True:
            try:
                for listener in (*listeners, *returns):
                    require_free(listener)
                break
            except ListenError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

        def doors(wanted: list[Listener]) -> Doors:
            return [(listener, stack.enter_context(contextlib.closing(bind(listener)))) for listener in wanted]

        return [Bound(doors(listeners), doors(returns)) for _ in range(self._workers)]

    @property
    def _workers(self) -> int:
        wanted = self._settings.server.workers
        return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted

    async def _database(self, stack: contextlib.AsyncExitStack) -> str:
        server, url = self._settings.server, self._settings.database.url
        if url:
            return url
        self._embedded = self._embedded or EmbeddedPostgres(server.data_dir / "postgres", user=server.user)
        stack.push_async_callback(asyncio.to_thread, self._embedded.stop)
        return await asyncio.to_thread(self._embedded.start)

    def _plan(self, dsn: str, secret: bytes, bound: list[Bound]) -> list[Child]:
        start = Start(0, len(bound), self._settings, dsn, secret, self._run_dir)
        workers = [
            self._child(
                f"worker-{index}",
                "mta.service.worker",
                replace(
                    start,
                    index=index,
                    listeners=_placed(own.listeners),
                    returns=_placed(own.returns, after=len(own.listeners)),
                ),
                own.sockets,
            )
            for index, own in enumerate(bound)
        ]
        return [*workers, self._child("web", "mta.service.web_process", replace(start, index=len(bound)))]

    def _child(self, name: str, module: str, start: Start, sockets: tuple[socket.socket, ...] = ()) -> Child:
        # Settings may have been reloaded since the sockets were bound.
        start = start.reloaded(self._settings)
        user = self._settings.server.user
        return Child(
            self._fork_server,
            name,
            module,
            start,
            sockets,
            user=user,
            ready=self._write_state,
            ended=self._child_ended,
        )

    # --- watching

    async def _watch(self, store: Store) -> None:
        work = (
            self._keep_database,
            self._reap,
            self._keep_house,
            self._settle_mailings,
            self._verify,
            self._watch_breakers,
            self._watch_blocklists,
            self._run_deadlines,
            self._tell_state,
        )
        self._breakers, self._blocklists = BreakerWatch(self._metrics), BlocklistWatch(self._metrics)
        await store.listen(delivery_stats.CHANNEL, self._breakers.complained)
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(child.keep()) for child in self._children]
            chores = [group.create_task(self._chore(each, store)) for each in work]
            await self._stopping.wait()
            log.info("stopping", grace=self._settings.server.shutdown_grace)
            for child in self._children:
                child.stop()
            await asyncio.wait(keepers, timeout=2 * self._settings.server.shutdown_grace + 5)
            for child in self._children:
                if child.pid is not None:
                    log.error("killing a child that does not stop", child=child.name)
                    child.kill()
            for chore in chores:
                chore.cancel()

    async def _chore(self, work: Callable[[Store], Awaitable[None]], store: Store) -> None:
        """Do ``work`` again and again, whatever happens inside: no chore is worth the service."""
        while True:
            try:
                await work(store)
            except StoreUnavailable:
                self._metrics.database_up.set(0)
            except Exception:
                log.exception("a chore of the supervisor failed")
            await asyncio.sleep(CHORE_EVERY)

    def _child_ended(self, pid: int) -> None:
        exposition.mark_dead(self._run_dir, pid)
        if not self._stopping.is_set():
            self._metrics.worker_restarts.inc()
        self._write_state()

    async def _keep_database(self, store: Store) -> None:
        """Start our own PostgreSQL again if it has ended by itself."""
        if self._embedded is None:
            return
        try:
            await store.ping()
        except StoreUnavailable:
            try:
                await asyncio.to_thread(self._embedded.start)
            except EmbeddedError as error:
                log.error("the database does not start", reason=str(error))

    async def _reap(self, store: Store) -> None:
        """Free what dead workers held: often, to be sure that it was they who were silent, not the database."""
        await store.lease.reap()
        await asyncio.sleep(self._reap_every)

    async def _keep_house(self, store: Store) -> None:
        """Measure the queue, forget what is old."""
        began = time.monotonic()
        await self._measure(store)
        if began > self._sweep_at:
            await store.messages.sweep(self._settings.retention.messages)
            await store.data_subjects.forget(self._settings.retention)
            await store.breakers.forget()
            await store.report_queue.sweep()
            await store.reports.sweep()
            self._sweep_at = time.monotonic() + SWEEP_EVERY
        # A queue of millions takes a while to count: never more than a twentieth of the time.
        await asyncio.sleep(max(MEASURE_EVERY, 20 * (time.monotonic() - began)))

    async def _verify(self, store: Store) -> None:
        """Look sender domains up in the DNS, with a fresh cache each time."""
        await look_again(self._settings, store, Resolver(self._settings))
        await asyncio.sleep(LOOK_EVERY)

    async def _run_deadlines(self, store: Store) -> None:
        """Tell accounts of complaints, and act where their time is over."""
        if self._complaints is None or self._complaints.settings is not self._settings:
            self._complaints = await ComplaintNotifier.open(self._settings, store)
        await run_deadlines(self._complaints, store)
        await asyncio.sleep(CASES_EVERY)

    async def _watch_breakers(self, store: Store) -> None:
        """Look at what came back, and at once after a complaint."""
        await self._breakers.look(self._settings, store)
        await self._breakers.pause()

    async def _watch_blocklists(self, store: Store) -> None:
        """Ask what is due; nobody, as long as no list is configured."""
        await self._blocklists.look(self._settings, store)
        await asyncio.sleep(ASK_EVERY)

    async def _settle_mailings(self, store: Store) -> None:
        """Let go, or keep back, what was queued while its mailing was confirmed, released or stopped."""
        await store.mailings.sweep()
        await asyncio.sleep(SETTLE_EVERY)

    async def _measure(self, store: Store) -> None:
        """Gauges that only the database knows."""
        counts = await store.queue.count_states()
        for state in QueueState:
            self._metrics.queue[state].set(counts.get(state.value, 0))
        self._metrics.queue_oldest.set(await store.queue.oldest_unexpired_age())
        self._metrics.queue_measured.set(time.time())
        self._metrics.database_up.set(1)

    async def _tell_state(self, _: Store) -> None:
        self._write_state()

    def _write_state(self) -> None:
        """Write down who lives, for /readyz and `mta top`."""
        state = {
            "at": time.time(),
            "pid": os.getpid(),
            "children": [
                {"name": child.name, "pid": child.pid, "seen_at": child.seen_at, "restarts": child.restarts}
                | child.report
                for child in self._children
            ],
        }
        _write(self._run_dir / "state.json", orjson.dumps(state))

    # --- signals

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)

    def _reload(self) -> None:
        """Read the file again; tell the children, or tell what is wrong and change nothing."""
        try:
            settings = load_file(self._path)
            validate(settings)
        except ConfigError as error:
            lines = error.lines
            log.error("the configuration was not reloaded", mistakes=lines)
        else:
            lines = []
            self._settings = settings
            for child in self._children:
                child.reload(settings)
            self._metrics.config_loaded.set(time.time())
            log.info("the configuration was reloaded")
        self._metrics.reloads[Success.NO if lines else Success.YES].inc()
        answer = {"at": datetime.now(UTC).isoformat(), "ok": not lines, "lines": lines}
        _write(self._run_dir / "reload.json", orjson.dumps(answer))

    def _reopen(self) -> None:
        for child in self._children:
            child.tell(Reopen())


def _placed(doors: Doors, after: int = 0) -> Sockets:
    """Number the sockets in the order in which they are passed to a child, ``after`` that many others."""
    return tuple((listener, place) for place, (listener, _) in enumerate(doors, after))


def _give(folder: Path, user: str | None) -> None:
    """Make a folder in which the children, who may run as ``user``, keep files. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user and os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)


@contextlib.contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold ``run_dir`` for this process. The pid in the file is for people and for `mta reload`."""
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
    """Replace a small file for readers who may look at any moment. The folder may be another user's."""
    draft = path.with_suffix(".new")
    try:
        draft.unlink(missing_ok=True)
        with open(create_file(draft), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        log.warning("cannot write", path=str(path), reason=error.strerror)
