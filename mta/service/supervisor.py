"""Start the database and the child processes, watch them, reload, and stop everything in order.

    lock and pid file ▶ sockets ▶ database ▶ migrations ▶ workers, web ▶ watch ▶ stop in reverse

Listening sockets are bound here and shared by all workers, and those of HTTP by all web processes: whoever is free
takes the next connection, so that none waits for a process that hangs or has died, and only the supervisor needs the
right to bind low ports.

Invariants:
    The supervisor, which may be root, handles no mail, keeps no connection to the database, asks no other machine
    anything, and reads nothing that strangers have written. Periodic jobs are for the first web process.
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
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson

from config.changes import described, waiting_for_restart
from config.schema import Settings
from config.toml import DEFAULTS, ConfigError, read_text
from mta.admin.service.reload import ReloadReply
from mta.observe import metric_files
from mta.observe.background import BackgroundTasks
from mta.observe.disk import DiskWatch, kept_on
from mta.observe.labels import BackgroundTask, Success
from mta.observe.log import Sparingly, get_logger
from mta.observe.metrics import Metrics
from mta.observe.shared_counters import create_file
from mta.service.bound_sockets import BoundSockets, bind_all, numbered
from mta.service.child import AnswerReload, Child
from mta.service.config_reader import read_config
from mta.service.control_channel import Reopen, Start, web_name
from mta.service.fork_server import ForkServer
from mta.service.offered import offered
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets

log = get_logger()

T = TypeVar("T")

WORKER, WEB = "mta.service.worker", "mta.service.web_process"
STATE_INTERVAL = 1.0  # seconds, as all that follow
POSTGRES_INTERVAL = 1.0
KILLED_WITHIN = 10.0
HUNG_AFTER_LEASES = 2  # a child that has not reported for so long is replaced,
HUNG_ALONE_AFTER = 15.0  # or, if no other one can do its work, after so many seconds


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
        self._postgres_lines = Sparingly()
        self._reloads: asyncio.Queue[tuple[bool, AnswerReload]] = asyncio.Queue()  # dry run, who waits for the reply
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
            metric_files.prepare(self._run_dir, groups)
            self._metrics = Metrics.open(self._run_dir)
            self._tasks = BackgroundTasks(self._metrics)
            self._metrics.workers_wanted.set(self._workers)
            self._metrics.config_loaded.set(time.time())
            self._keep_config()
            sockets = await bind_all(self._settings, stack)
            dsn = await self._database(stack)
            server = self._settings.server
            secrets = Secrets.load_or_create(server.secret_file or server.data_dir / "secret")
            if await self._unless_stopped(migrate(dsn)) is not None:
                sockets.listen()
                self._children = self._make_children(dsn, secrets.root, sockets)
                await self._watch()

    # --- starting

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
            *(
                self._make_child(f"worker-{each.index}", WORKER, each, shared, alone=len(workers) == 1)
                for each in workers
            ),
            *(
                self._make_child(web_name(each.index), WEB, each, sockets.of_web, alone=each.index == 0)
                for each in webs
            ),
        ]

    def _make_child(
        self, name: str, module: str, start: Start, sockets: tuple[socket.socket, ...], *, alone: bool
    ) -> Child:
        """``alone``: no other one does all of its work while it hangs. The first web process has the periodic jobs."""
        leases = HUNG_AFTER_LEASES * self._settings.database.lease
        return Child(
            self._fork_server,
            name,
            module,
            start,
            sockets,
            user=self._settings.server.user,
            patience=min(leases, HUNG_ALONE_AFTER) if alone else leases,
            ready=self._write_state,
            ended=self._child_ended,
            reload_asked=self._ask_reload,
        )

    # --- watching

    async def _watch(self) -> None:
        """Run the children, and see to them, until the service is stopped."""
        children = [self._tasks.start(BackgroundTask.CHILD, child.run) for child in self._children]
        own = [
            self._tasks.every(BackgroundTask.STATUS, STATE_INTERVAL, self._report_state),
            self._tasks.start(BackgroundTask.RELOAD, self._answer_reloads),
        ]
        if self._embedded is not None:
            own.append(self._tasks.every(BackgroundTask.POSTGRES, POSTGRES_INTERVAL, self._keep_postgres))
        try:
            await self._stopping.wait()
            await self._stop_children(children)
        finally:
            for task in (*own, *children):
                task.cancel()
            await asyncio.gather(*own, *children, return_exceptions=True)

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
        metric_files.mark_dead(self._run_dir, pid)
        if not self._stopping.is_set():
            self._metrics.worker_restarts.inc()
        self._write_state()

    async def _keep_postgres(self) -> None:
        """Start our own PostgreSQL again if it has ended by itself."""
        assert self._embedded
        if self._embedded.is_alive():
            return
        try:
            await asyncio.to_thread(self._embedded.start)
        except EmbeddedError as error:
            if count := self._postgres_lines.due():
                log.error("database not started", reason=str(error), tries=count)

    async def _report_state(self) -> None:
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
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen)

    def _ask_reload(self, dry_run: bool = False, answer: AnswerReload = lambda _: None) -> None:
        self._reloads.put_nowait((dry_run, answer))

    async def _answer_reloads(self) -> None:
        """Reload whenever that is asked for, one after the other."""
        while True:
            dry_run, answer = await self._reloads.get()
            answer(await self._reload(dry_run=dry_run))

    async def _reload(self, *, dry_run: bool = False) -> ReloadReply:
        """Read the configuration file again and pass it to the children. With any mistake in it, change nothing."""
        try:
            read = await read_config(self._fork_server, self._path)
        except ConfigError as error:
            reply = ReloadReply(mistakes=error.lines)
        else:
            changes = described(self._settings, read.settings)
            waiting = waiting_for_restart(self._started_with, read.settings)
            reply = ReloadReply((), changes, waiting, read.remarks, read.settings, self._settings)
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
            metric_files.add_providers(self._run_dir, [each.name for each in settings.shaping.providers])
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
