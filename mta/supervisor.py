"""The parent: starts the database and the workers, watches them, reloads, and ends them in order.

    lock and pid file ▶ database ▶ migrations ▶ sockets ▶ workers, web ▶ watch ▶ stop in reverse

Listening sockets are bound here, one for each worker and listener (SO_REUSEPORT), and inherited: a worker that dies
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
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import structlog

from config.load import ConfigError, load_file
from config.schema import Settings
from mta import orders
from mta.inbound.listener import ListenError, bind, require_free
from mta.observe import metrics
from mta.observe.labels import QueueState, Success
from mta.observe.metrics import Metrics
from mta.orders import Reload, Reopen, Start
from mta.rehearsal import rehearse
from mta.store.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.migrate import migrate
from mta.store.secrets import Secrets
from mta.store.store import Store, StoreUnavailable

log = structlog.get_logger()

FREE_WITHIN = 3.0  # seconds for workers whose supervisor was killed to let go of its ports
RESTART_AFTER = 1.0  # seconds; doubles with each failure in a row, up to RESTART_AT_MOST
RESTART_AT_MOST = 30.0
HEALTHY_AFTER = 60.0  # seconds after which a child's earlier failures are forgotten
SWEEP_EVERY = 600.0
MEASURE_EVERY = 5.0
PING_EVERY = 1.0
REAPS = 6  # times that dead workers are looked for within the length of a lease
# Messages come and go as large pieces of memory. To ask the kernel anew for each costs a worker up to half of its time
# with the store (page faults); it keeps some instead. The names are those of the C library.
MEMORY = {"MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "8388608"}


class AlreadyRunning(Exception):
    """Another service uses the same data directory."""


@dataclass(slots=True, eq=False)
class Child:
    """One child process. ``module``: what it runs; ``seen_at``: when it last reported (seconds since 1970)."""

    name: str
    module: str
    start: Start
    sockets: tuple[socket.socket, ...] = ()
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    restarts: int = 0
    seen_at: float = 0.0
    report: dict[str, object] = field(default_factory=dict)


class Supervisor:
    """``path``: the configuration file (None: the shipped defaults), read again at each reload."""

    def __init__(self, path: Path | None, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._run_dir = settings.server.data_dir / "run"
        self._embedded: EmbeddedPostgres | None = None
        self._children: list[Child] = []
        self._stopping = asyncio.Event()
        self._readers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises AlreadyRunning, OSError (a port is taken), StoreUnavailable."""
        self._handle_signals()
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_only_one(self._run_dir))
            metrics.prepare(self._run_dir)
            self._metrics = Metrics.open(self._run_dir)
            self._metrics.workers_wanted.set(self._workers)
            self._metrics.config_loaded.set(time.time())
            sockets = await self._bind(stack)
            dsn = await self._database(stack)
            await migrate(dsn)
            server = self._settings.server
            secrets = Secrets.load_or_create(server.secret_file or server.data_dir / "secret")
            store = await Store.open(dsn, self._settings.database, secrets, self._metrics)
            stack.push_async_callback(store.close)
            self._children = self._plan(dsn, secrets.root, sockets)
            await self._watch(store)

    # --- starting

    async def _bind(self, stack: contextlib.AsyncExitStack) -> list[list[socket.socket]]:
        """One socket for each listener and worker. Raises OSError."""
        listeners = self._settings.submission.listeners
        end = time.monotonic() + FREE_WITHIN
        while True:
            try:
                for listener in listeners:
                    require_free(listener)
                break
            except ListenError:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)
        return [
            [stack.enter_context(contextlib.closing(bind(listener))) for listener in listeners]
            for _ in range(self._workers)
        ]

    @property
    def _workers(self) -> int:
        wanted = self._settings.server.workers
        return len(os.sched_getaffinity(0)) if wanted == "auto" else wanted

    async def _database(self, stack: contextlib.AsyncExitStack) -> str:
        if self._settings.database.url:
            return self._settings.database.url
        self._embedded = EmbeddedPostgres(self._settings.server.data_dir / "postgres", user=self._settings.server.user)
        stack.push_async_callback(asyncio.to_thread, self._embedded.stop)
        return await asyncio.to_thread(self._embedded.start)

    def _plan(self, dsn: str, secret: bytes, sockets: list[list[socket.socket]]) -> list[Child]:
        children = []
        for index, own in enumerate(sockets):
            numbers = tuple(
                (listener, sock.fileno())
                for listener, sock in zip(self._settings.submission.listeners, own, strict=True)
            )
            start = Start(index, self._workers, self._settings, dsn, secret, self._run_dir, numbers)
            children.append(Child(f"worker-{index}", "mta.worker", start, tuple(own)))
        web = Start(len(children), self._workers, self._settings, dsn, secret, self._run_dir)
        children.append(Child("web", "mta.web.process", web))
        return children

    # --- watching

    async def _watch(self, store: Store) -> None:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(child)) for child in self._children]
            work = (self._keep_database(store), self._reap(store), self._keep_house(store), self._tell_state())
            chores = [group.create_task(chore) for chore in work]
            await self._stopping.wait()
            log.info("stopping", grace=self._settings.server.shutdown_grace)
            for child in self._children:
                for sock in child.sockets:
                    sock.close()  # or connections would queue up on our copy
                if child.writer:
                    child.writer.close()  # the end of its orders: stop
            _, late = await asyncio.wait(keepers, timeout=2 * self._settings.server.shutdown_grace + 5)
            for child in self._children:
                if late and child.process and child.process.returncode is None:
                    log.error("killing a child that does not stop", child=child.name)
                    child.process.kill()
            for chore in chores:
                chore.cancel()

    async def _keep(self, child: Child) -> None:
        """Keep one child running until the service stops."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._spawn(child)
            assert child.process
            code = await child.process.wait()
            metrics.mark_dead(self._run_dir, child.process.pid)
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - began > HEALTHY_AFTER else failures + 1
            child.restarts += 1
            self._metrics.worker_restarts.inc()
            wait = min(RESTART_AT_MOST, RESTART_AFTER * 2 ** (failures - 1)) if failures else 0.0
            log.error("a child ended by itself", child=child.name, status=code, restart_in=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _spawn(self, child: Child) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-u",
                "-m",
                child.module,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno(), *(sock.fileno() for sock in child.sockets)],
                stdin=asyncio.subprocess.DEVNULL,
                user=self._settings.server.user if os.geteuid() == 0 else None,
                env={**os.environ, **MEMORY},
            )
        reader, child.writer = await asyncio.open_connection(sock=ours)
        orders.send(child.writer, child.start)
        log.info("started", child=child.name, pid=child.process.pid)
        listening = asyncio.create_task(self._listen(child, reader))
        self._readers.add(listening)
        listening.add_done_callback(self._readers.discard)

    async def _listen(self, child: Child, reader: asyncio.StreamReader) -> None:
        while (status := await orders.status(reader)) is not None:
            child.report, child.seen_at = status, time.time()

    async def _keep_database(self, store: Store) -> None:
        """Start our own PostgreSQL again if it has ended by itself."""
        while self._embedded:
            try:
                await store.ping()
            except StoreUnavailable:
                try:
                    await asyncio.to_thread(self._embedded.start)
                except EmbeddedError as error:
                    log.error("the database does not start", reason=str(error))
            await asyncio.sleep(PING_EVERY)

    async def _reap(self, store: Store) -> None:
        """Free what dead workers held: often, to be sure that it was they who were silent, not the database."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                await store.lease.reap()
            await asyncio.sleep(self._settings.database.lease / REAPS)

    async def _keep_house(self, store: Store) -> None:
        """Measure the queue, forget what is old."""
        swept = 0.0
        while True:
            began = time.monotonic()
            try:
                await self._measure(store)
                if time.monotonic() - swept > SWEEP_EVERY:
                    await store.messages.sweep(self._settings.queue.event_retention)
                    swept = time.monotonic()
            except StoreUnavailable:
                self._metrics.database_up.set(0)
                log.warning("the database is away")
            # A queue of millions takes a while to count: never more than a twentieth of the time.
            await asyncio.sleep(max(MEASURE_EVERY, 20 * (time.monotonic() - began)))

    async def _measure(self, store: Store) -> None:
        """Gauges that only the database knows."""
        counts = await store.queue.count_states()
        for state in QueueState:
            self._metrics.queue[state].set(counts.get(state.value, 0))
        self._metrics.queue_oldest.set(await store.queue.oldest_unexpired_age())
        self._metrics.queue_measured.set(time.time())
        self._metrics.database_up.set(1)

    async def _tell_state(self) -> None:
        """Write down who lives, for /readyz and `mta top`."""
        while True:
            state = {
                "at": time.time(),
                "pid": os.getpid(),
                "children": [
                    {"name": child.name, "pid": child.process.pid if child.process else None, "seen_at": child.seen_at}
                    | {"restarts": child.restarts, **child.report}
                    for child in self._children
                ],
            }
            _write(self._run_dir / "state.json", orjson.dumps(state))
            await asyncio.sleep(1)

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
            rehearse(settings)
        except ConfigError as error:
            lines = error.lines
            log.error("the configuration was not reloaded", mistakes=lines)
        else:
            lines = []
            self._settings = settings
            for child in self._children:
                child.start = replace(child.start, settings=settings)
                if child.writer:
                    orders.send(child.writer, Reload(settings))
            self._metrics.config_loaded.set(time.time())
            log.info("the configuration was reloaded")
        self._metrics.reloads[Success.NO if lines else Success.YES].inc()
        answer = {"at": datetime.now(UTC).isoformat(), "ok": not lines, "lines": lines}
        _write(self._run_dir / "reload.json", orjson.dumps(answer))

    def _reopen(self) -> None:
        for child in self._children:
            if child.writer:
                orders.send(child.writer, Reopen())


@contextlib.contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold ``run_dir`` for this process. The pid in the file is for people and for `mta reload`."""
    fd = os.open(run_dir / "supervisor.pid", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
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
    """Replace a small file for readers who may look at any moment."""
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        log.warning("cannot write", path=str(path), reason=error.strerror)
