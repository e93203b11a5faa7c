"""Forks the service's child processes from one process that has imported everything.

    supervisor ── ForkRequest, sockets ───────▶ fork server ── fork ──▶ worker-0, worker-1, web
               ◀── Forked, ForkFailed, Exited ──

The fork server is forked from the supervisor's process before that has an event loop, and shares its memory: a start
costs one import, and the code is in memory once. If it dies, its children live on. The next child that has to be
started then starts a new fork server first, which imports everything again.

Invariants:
    The fork server has no event loop, no threads, and no open file but its socket. It ends with the supervisor.
    A child has standard output and error and the sockets that were passed for it, and no other file of its parents.
    Children leave signals to the process group to the supervisor, from their first moment.
    Modules make nothing at import that must differ between processes, such as random state or ids.

Limitations: Linux only. At most 252 listening sockets per child.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, assert_never

import msgspec

from mta.isolation import python_command
from mta.observe.log import get_logger
from mta.service.preload import preload

log = get_logger()

MODULES = ("mta.service.worker", "mta.service.web_process")  # each has main(control, sockets), and may have warm_up()
CLOSE_TIMEOUT = 5.0  # seconds, then SIGKILL
ANSWER_TIMEOUT = 30.0  # seconds for a fork, then SIGKILL: the next start executes another server

_LEFT_TO_SUPERVISOR = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_MAX_MESSAGE = 64 * 1024
_MAX_SOCKETS = 253  # the kernel's limit per message
# Messages are large allocations. Returning each to the kernel costs a worker up to half of its time with the store
# (page faults), so it keeps some, but in one heap for all threads. Keys: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and
# M_ARENA_MAX of mallopt(3).
_MALLOC = {-1: 16 * 2**20, -3: 8 * 2**20, -8: 1}
_PR_SET_DUMPABLE = 4
_C = ctypes.CDLL(None)


class ForkRequest(msgspec.Struct, frozen=True):
    """Fork a child that runs ``main`` of ``module``, as ``user`` if we are root."""

    id: int
    name: str
    module: str
    user: str | None


class Forked(msgspec.Struct, frozen=True, tag=True):
    id: int
    pid: int


class ForkFailed(msgspec.Struct, frozen=True, tag=True):
    """No child could be forked."""

    id: int
    reason: str


class Exited(msgspec.Struct, frozen=True, tag=True):
    """``status``: negative for a signal."""

    id: int
    status: int


ForkAnswer = Forked | ForkFailed | Exited

# --- the supervisor's side


class ForkedProcess:
    """A forked child process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int | None:
        """Return its exit status, negative for a signal; None, without waiting, once the fork server has ended."""
        await self._ended.wait()
        return self._status

    def kill(self) -> None:
        """Send SIGKILL. The process must be known to be alive."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def set_status(self, status: int | None) -> None:
        self._status = status
        self._ended.set()


class ForkServer:
    """The supervisor's side. ``modules`` are imported before the first fork."""

    def __init__(self, modules: Sequence[str] = MODULES) -> None:
        self._modules = modules
        self._control: socket.socket | None = None
        self._wait: Callable[[], object] = lambda: None
        self._pid = 0
        self._reading = False
        self._requests = 0
        self._waiting: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._processes: dict[int, ForkedProcess] = {}

    @property
    def pid(self) -> int | None:
        """Its process id, None if it is not running."""
        return self._pid if self._control else None

    def fork(self) -> None:
        """Import everything and fork the server from this process. Raises RuntimeError if it has threads, OSError."""
        if threading.active_count() > 1:
            raise RuntimeError("a process with threads cannot be forked safely")
        preload(self._modules)
        ours, theirs = _pair()
        _flush()
        pid = os.fork()
        if pid == 0:
            _exit_after(lambda: _Server(theirs).serve())
        theirs.close()
        self._adopt(ours, pid, lambda: os.waitpid(pid, 0))

    async def start(
        self, name: str, module: str, sockets: Sequence[socket.socket], *, user: str | None = None
    ) -> ForkedProcess:
        """Fork a child and pass it ``sockets`` in this order; ours stay open. Raises OSError."""
        control = self._control or self._execute()
        if not self._reading:
            self._reading = True
            asyncio.get_running_loop().add_reader(control, self._read, control)
        self._requests += 1
        request = ForkRequest(self._requests, name, module, user)
        waiting: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = waiting
        try:
            socket.send_fds(control, [msgspec.json.encode(request)], [each.fileno() for each in sockets])
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await waiting
        except TimeoutError:
            log.error("fork server killed: it hangs", pid=self._pid)
            os.kill(self._pid, signal.SIGKILL)  # not reaped before its end was read, so the id is still its own
            raise OSError("the fork server does not answer") from None
        finally:
            del self._waiting[request.id]

    async def close(self) -> None:
        """Stop the server and wait for its end; children go on."""
        if self._control is None:
            return
        self._forget(self._control)
        gone = asyncio.get_running_loop().run_in_executor(None, self._wait)
        done, _ = await asyncio.wait((gone,), timeout=CLOSE_TIMEOUT)
        if not done:
            os.kill(self._pid, signal.SIGKILL)
            await gone

    def _execute(self) -> socket.socket:
        """Start a server by executing Python anew, in place of one that has died."""
        ours, theirs = _pair()
        with theirs:
            try:
                command = python_command(__name__, str(theirs.fileno()), *self._modules)
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        self._adopt(ours, process.pid, process.wait)
        return ours

    def _adopt(self, control: socket.socket, pid: int, wait: Callable[[], object]) -> None:
        control.setblocking(False)
        self._control, self._pid, self._wait, self._reading = control, pid, wait, False

    def _read(self, control: socket.socket) -> None:
        try:
            message = control.recv(_MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if message:
            self._heard(msgspec.json.decode(message, type=ForkAnswer))
        else:
            log.error("fork server died", pid=self._pid)
            self._forget(control)
            asyncio.get_running_loop().run_in_executor(None, self._wait)

    def _heard(self, answer: ForkAnswer) -> None:
        match answer:
            case Forked(id, pid):
                process = self._processes[id] = ForkedProcess(pid)
                if (waiting := self._waiting.get(id)) and not waiting.done():
                    waiting.set_result(process)
            case ForkFailed(id, reason):
                if (waiting := self._waiting.get(id)) and not waiting.done():
                    waiting.set_exception(OSError(reason))
            case Exited(id, status):
                self._processes.pop(id).set_status(status)
            case _:
                assert_never(answer)

    def _forget(self, control: socket.socket) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(control)
        control.close()
        self._control = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("fork server died"))
        for process in self._processes.values():
            process.set_status(None)
        self._processes.clear()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


# --- the fork server's side


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, int] = {}  # process ids, and of which request

    def serve(self) -> None:
        """Serve requests until the supervisor has ended."""
        _close_all_but([self._control.fileno()])
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        _name("mta fork server")
        for number in _LEFT_TO_SUPERVISOR:
            signal.signal(number, signal.SIG_IGN)
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only wakes the poll
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        poll = select.poll()
        for descriptor in (self._woken, self._control.fileno()):
            poll.register(descriptor, select.POLLIN)
        with contextlib.suppress(ConnectionError):  # the supervisor ended before an answer
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if self._woken in ready:
                    self._reap()
                if self._control.fileno() in ready and not self._fork():
                    return

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 4096)
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if (id := self._children.pop(pid, None)) is not None:
                self._answer(Exited(id, os.waitstatus_to_exitcode(status)))

    def _fork(self) -> bool:
        """Serve one request. Returns False at the end of the stream."""
        message, sockets, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE, _MAX_SOCKETS, socket.MSG_CMSG_CLOEXEC)
        if not message:
            return False
        request = msgspec.json.decode(message, type=ForkRequest)
        try:
            pid = os.fork()
        except OSError as error:
            self._answer(ForkFailed(request.id, error.strerror or "cannot fork"))
        else:
            if pid == 0:
                _exit_after(lambda: _become(request, sockets))
            self._children[pid] = request.id
            self._answer(Forked(request.id, pid))
        for descriptor in sockets:
            os.close(descriptor)
        return True

    def _answer(self, answer: ForkAnswer) -> None:
        self._control.send(msgspec.json.encode(answer))


def _become(request: ForkRequest, sockets: Sequence[int]) -> None:
    """Run as the child until its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _close_all_but(sockets)
    _name(f"mta {request.name}")
    if hasattr(_C, "mallopt"):  # glibc's
        for option, value in _MALLOC.items():
            _C.mallopt(option, value)
    if request.user and os.geteuid() == 0:
        account = pwd.getpwnam(request.user)
        os.setgroups(os.getgrouplist(request.user, account.pw_gid))
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        # As exec would do. Otherwise workers on a /proc with hidepid=2 cannot see each other, and look dead.
        _C.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    control, *others = [socket.socket(fileno=descriptor) for descriptor in sockets]
    importlib.import_module(request.module).main(control, others)


def _exit_after(work: Callable[[], None]) -> NoReturn:
    """Run ``work`` and end this process; a forked process must never return into its parent's code."""
    status = 1
    try:
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            _flush()
        os._exit(status)


def _close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor but ``kept`` and the standard ones."""
    for descriptor in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *kept}:
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            os.close(descriptor)


def _name(name: str) -> None:
    """Set the name that ps and top show, at most 15 characters."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _flush() -> None:
    """Empty the output buffers, which would otherwise be written by both processes."""
    sys.stdout.flush()
    sys.stderr.flush()


def main() -> None:
    """Run a server that was not forked: arguments DESCRIPTOR MODULE..."""
    control = socket.socket(fileno=int(sys.argv[1]))
    preload(sys.argv[2:])
    _exit_after(lambda: _Server(control).serve())


if __name__ == "__main__":
    main()
