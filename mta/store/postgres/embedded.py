"""Run a PostgreSQL server for the service: one data directory, one unix socket, started and stopped by us.

The server is a separate daemon, not our child: it outlives a killed service and is found again at the next start. Every
process that uses it by ``start`` holds a shared lock; ``stop`` ends the server only when no other process holds it. Its
settings are written at each start: ``embedded.conf`` plus values that depend on the machine.

As root the server runs as an unprivileged account: the one that was asked for, else the owner of the data directory,
else ``postgres``, else ``nobody``. If that account cannot reach the data directory (below a home of mode 0700, say),
the data goes to ``/var/lib/imprimatur/<hash>`` and the directory becomes a symbolic link to it; programs of the binary
wheel that it cannot reach are copied there too.

Invariants: never creates accounts, changes the mode of a folder it did not make, or listens on the network.

Limitations: all calls block: use a thread. The server's account can read the data. The file system of the data
directory must support unix sockets and locks (no NFS). The settings are meant for one mail service on one machine; tune
your own database yourself.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from config.schema import Settings
from mta.store.postgres import server_programs
from mta.store.postgres.server_programs import Account, Binaries, EmbeddedError

_CONF = Path(__file__).with_name("embedded.conf")
CONNECTIONS = 100  # at least; each place costs 40 KiB of shared memory, used or not
MEMORY = 16 * 2**20
_OTHERS = 1  # processes with a pool beside workers and web: a command


def configuration(
    data: Path, socket_folder: Path, *, durable: bool, memory: int, connections: int = CONNECTIONS
) -> str:
    """The text of the configuration file for the server of ``data``; an operator's ``local.conf`` there comes last.
    ``memory``: octets of shared buffers."""
    text = (
        f"{_CONF.read_text()}\nshared_buffers = {memory // 2**20}MB\nmax_connections = {connections}\n"
        f"fsync = {'on' if durable else 'off'}\n"
        f"unix_socket_directories = '{socket_folder}'\nport = 5432\n"
    )
    return text + "include = 'local.conf'\n" if (data / "local.conf").exists() else text


__all__ = ["EmbeddedError", "EmbeddedPostgres"]

REACHABLE = Path("/var/lib/imprimatur")  # where data and programs go that the server's account could not reach
ROLE = "imprimatur"

_MAX_SOCKET_PATH = 107  # octets in sun_path, without its NUL
_SOCKET_NAME = ".s.PGSQL.5432"
_PATIENCE = 60  # seconds for a start (recovery included) or a stop
_ANSWERS_WITHIN = 5.0  # seconds, on a busy machine
_ASKS_FOR_TLS = bytes((0, 0, 0, 8, 4, 210, 22, 47))  # SSLRequest: a server that lives answers it, whoever asks


class EmbeddedPostgres:
    """The server of one data directory. ``durable`` False turns fsync off, which is for tests alone.

    ``user``: the account to run as when we are root; the data directory must be new or its own.
    ``programs``: the folder with PostgreSQL's programs, instead of looking for one. ``memory``: octets of its shared
    buffers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        user: str | None = None,
        durable: bool = True,
        programs: Path | None = None,
        memory: int = MEMORY,
        connections: int = CONNECTIONS,
    ) -> None:
        self._memory, self._connections = memory, connections
        self.directory = directory.absolute()
        self._user = user
        self._durable = durable
        self._programs = programs
        self._use: int | None = None  # descriptor that holds the shared lock
        self._begun: tuple[int, int] | None = None  # process id, descriptor whose end ends it

    @classmethod
    def of(cls, settings: Settings) -> EmbeddedPostgres:
        """The server of a service, with places for all connections of its processes."""
        server, database = settings.server, settings.database
        workers = os.cpu_count() or 1 if server.workers == "auto" else server.workers
        connections = max(
            CONNECTIONS, (workers + settings.web.processes + _OTHERS) * (database.pool_size + 1) + CONNECTIONS // 4
        )
        return cls(server.data_dir / "postgres", user=server.user, memory=database.memory, connections=connections)

    def begin(self) -> None:
        """Start the server in the background, in a forked process that keeps it until ``start`` or ``stop`` is called.

        If this process ends first, the server is stopped. This process must not have threads yet.
        """
        ended, ours = os.pipe()
        pid = os.fork()
        if pid:
            os.close(ended)
            self._begun = pid, ours
            return
        try:
            os.close(ours)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)  # left to the parent
            with suppress(EmbeddedError):  # the parent's ``start`` will report it
                self.start()
            os.read(ended, 1)
            with suppress(EmbeddedError):
                self.stop()
        finally:
            os._exit(0)

    def start(self) -> str:
        """The DSN of the running server, which is started (and made) if need be. Raises EmbeddedError."""
        try:
            return self._start_or_find()
        finally:
            self._end_begun()

    def _start_or_find(self) -> str:
        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            if self._use is None:
                self._use = _open_lock(self._lock_path("use"))
                fcntl.flock(self._use, fcntl.LOCK_SH)
            with self._only_one():
                return self._wait_for_running() or self._start()
        except PermissionError as error:
            self._release()
            raise EmbeddedError(
                f"{error.filename}: permission denied; run this as the service's user or root"
            ) from error
        except OSError as error:
            self._release()
            raise EmbeddedError(f"PostgreSQL in {self.directory} cannot be started: {error}") from error
        except BaseException:
            self._release()
            raise

    def running(self) -> str | None:
        """The DSN if the server runs and takes connections, else None. Never starts it."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return None
        if len(lines) < 8 or lines[7].strip() != "ready":
            return None
        folder, port = lines[4], int(lines[3])
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_ANSWERS_WITHIN)
            try:
                probe.connect(f"{folder}/.s.PGSQL.{port}")
                probe.sendall(_ASKS_FOR_TLS)
                if not probe.recv(1):
                    return None
            except OSError:  # left behind by a kill -9 or a power cut, or held by the last children of a dead server
                return None
        return f"postgresql://{ROLE}@/postgres?host={quote(folder, safe='')}&port={port}"

    def is_alive(self) -> bool:
        """Whether the server's process is there: it runs, or is starting or stopping. Does not wait."""
        return _is_alive(self.directory / "postmaster.pid", self.directory.resolve())

    def stop(self) -> None:
        """End the server (fast shutdown: clients are cut off, nothing is lost) unless another process still uses it."""
        self._end_begun()
        if self._use is None:
            return
        with self._only_one():
            if self._last_user():
                self._stop()
        self._release()

    def remove(self) -> None:
        """Stop the server and delete its data. For demonstrations and tests. Does nothing while others use it."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if self._use is None:
            self._use = _open_lock(self._lock_path("use"))
        with self._only_one():
            if not self._last_user():
                self._release()
                return
            self._stop()
            data = self.directory.resolve()
            shutil.rmtree(self._socket_folder(data), ignore_errors=True)
            shutil.rmtree(data, ignore_errors=True)
            if self.directory.is_symlink():
                self.directory.unlink()
        self._release()
        for name in ("use", "start"):
            self._lock_path(name).unlink(missing_ok=True)

    def _end_begun(self) -> None:
        if self._begun is not None:
            (pid, descriptor), self._begun = self._begun, None
            os.close(descriptor)
            os.waitpid(pid, 0)

    # locks

    def _lock_path(self, name: str) -> Path:
        return self.directory.with_name(f"{self.directory.name}.{name}.lock")

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Alone among all processes that start or stop this server."""
        lock = _open_lock(self._lock_path("start"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _last_user(self) -> bool:
        assert self._use is not None
        try:
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(self) -> None:
        if self._use is not None:
            os.close(self._use)
            self._use = None

    # starting and stopping

    def _wait_for_running(self) -> str | None:
        """The DSN of a server that runs, or that is just starting or stopping and runs in the end."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if dsn := self.running():
                return dsn
            if not self.is_alive():
                break
            time.sleep(0.05)
        return None

    def _start(self) -> str:
        account = server_programs.account_for(self.directory.resolve(), self._user)
        data = self._data_directory(account)
        programs = self._choose(data, account)
        if not (data / "PG_VERSION").exists():
            self._create(data, programs, account)
        folder = self._socket_folder(data)
        server_programs.make_private(folder, account)
        for lock in (data / "postmaster.pid", folder / f"{_SOCKET_NAME}.lock"):
            if lock.exists() and not _is_alive(lock, data):
                lock.unlink()
        conf = self._configure(data, folder, account)
        log = data / "start.log"
        command = _pg_ctl(programs, "start", data, "-l", log, "-o", f'-c config_file="{conf}"')
        deadline = time.monotonic() + 10
        while (done := server_programs.run(command, account)).returncode != 0:
            # After a kill -9 of the server alone, its last children need a moment to notice and let go of the memory.
            words = _last_words(data)
            if "shared memory block" not in words or time.monotonic() > deadline:
                raise EmbeddedError(f"PostgreSQL in {data} did not start: {done.stderr.strip()}\n{words}")
            time.sleep(0.1)
        dsn = self.running()
        if dsn is None:
            raise EmbeddedError(f"PostgreSQL in {data} ended right after its start; its log is in {data / 'log'}")
        return dsn

    def _stop(self) -> None:
        if self.running() is None and not (self.directory / "postmaster.pid").exists():
            return
        data = self.directory.resolve()
        account = server_programs.account_for(data, self._user)
        programs = self._choose(data, account)
        for mode in ("fast", "immediate"):  # immediate is safe too: the next start replays the log
            done = server_programs.run(_pg_ctl(programs, "stop", data, "-m", mode), account)
            if done.returncode == 0 or self.running() is None:
                return
        raise EmbeddedError(f"PostgreSQL in {data} does not stop; its log is in {data / 'log'}")

    def _create(self, data: Path, programs: Binaries, account: Account | None) -> None:
        """A new data directory. It is made beside its place, so that a half-made one is never taken for real."""
        half = data.with_name(f"{data.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        server_programs.make_private(half, account)
        command: list[str | Path] = [programs.folder / "initdb", "-D", half, "-U", ROLE, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "--lc-collate=C", "--no-instructions"]
        done = server_programs.run([*command, "--no-sync"] if not self._durable else command, account)
        if done.returncode != 0:
            raise EmbeddedError(f"initdb failed for {data}: {done.stderr.strip()}")
        try:
            half.rename(data)  # over an empty directory too
        except OSError as error:
            raise EmbeddedError(
                f"{data} cannot be made: {error.strerror}; it must not exist yet, or be an empty directory"
            ) from None
        _sync(data.parent)

    def _configure(self, data: Path, socket_folder: Path, account: Account | None) -> Path:
        """Write the server's settings. The file replaces the old one and is never written through: the data directory
        belongs to the account, which must not make root write elsewhere by a symbolic link."""
        conf, fresh = data / "imprimatur.conf", data / "imprimatur.conf.new"
        text = configuration(
            data, socket_folder, durable=self._durable, memory=self._memory, connections=self._connections
        )
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            if account:
                os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
        fresh.replace(conf)
        return conf

    def _choose(self, data: Path, account: Account | None) -> Binaries:
        """Programs that fit the data directory's version and that the account can run."""
        version = data / "PG_VERSION"
        major = int(version.read_text()) if version.exists() else None
        try:
            chosen = server_programs.choose_programs(major, self._programs)
        except server_programs.NoneFitting as error:
            raise EmbeddedError(f"PostgreSQL cannot run in {data}: {error}") from None
        if account and not server_programs.can_enter(chosen.folder, account):
            if not chosen.wheel:
                raise EmbeddedError(f"the account {account.pw_name} cannot reach {chosen.folder}")
            REACHABLE.mkdir(mode=0o755, parents=True, exist_ok=True)
            chosen = server_programs.copy_programs(chosen, REACHABLE)
        return chosen

    # accounts and places

    def _data_directory(self, account: Account | None) -> Path:
        """The real place of the data; a symbolic link is left where it could not be."""
        data = self.directory.resolve()
        if account is None or server_programs.can_enter(data.parent, account):
            return data
        if (data / "PG_VERSION").exists():
            raise EmbeddedError(
                f"the account {account.pw_name} cannot reach {data}: open its parent folders, or move it"
            )
        place = REACHABLE / _digest(data)
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self.directory.is_dir() and not self.directory.is_symlink():
            self.directory.rmdir()  # an empty one; anything else is an error
        self.directory.symlink_to(place)
        _sync(self.directory.parent)
        return place

    def _socket_folder(self, data: Path) -> Path:
        """The data directory itself, or, where its name is too long for a socket, a short one made from it."""
        if len(os.fsencode(data / _SOCKET_NAME)) + 1 <= _MAX_SOCKET_PATH:
            return data
        base = Path("/run") if os.geteuid() == 0 else Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        return base / f"imprimatur-{_digest(data)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _pg_ctl(programs: Binaries, verb: str, data: Path, *more: str | Path) -> list[str | Path]:
    return [programs.folder / "pg_ctl", verb, "-s", "-w", "-t", str(_PATIENCE), "-D", data, *more]


def _sync(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_alive(lock: Path, data: Path) -> bool:
    """Whether the process that wrote a lock file of PostgreSQL's still is the server of ``data``.

    In containers process ids soon come again, and the dead may stay zombies for want of an init process; PostgreSQL
    takes both for a running server, and would not start. (Children that outlive their server hold its shared memory,
    which PostgreSQL finds by the inode of the data directory: they are safe from a second server.)
    """
    try:
        process = Path("/proc", lock.read_text().split("\n", 1)[0].strip())
        name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:  # no such file, no such process
        return False
    if name not in ("postgres", "postmaster") or rest.split()[0] in "ZX":
        return False
    try:
        return (process / "cwd").resolve(strict=True) == data
    except OSError:  # not ours to look at: somebody's server, then
        return True


def _last_words(data: Path) -> str:
    """The end of the server's logs: that of its start, and that of its life."""
    logs = sorted((data / "log").glob("*.log"), key=lambda log: log.stat().st_mtime)[-1:]
    words = []
    for log in (data / "start.log", *logs):
        with suppress(OSError):
            words += [f"{log}:", *log.read_text(errors="replace").splitlines()[-6:]]
    return "\n".join(words)
