"""The service, and its commands, forked from a process that has imported them once.

A start takes two seconds of CPU time for imports and patterns, more than what most tests do with it. So each process
that runs tests keeps one that has done that, and lets it fork: what is forked goes on as ``python -m mta`` does. Where
an environment or limits of its own matter, the service is executed.

    test ── arguments, environment, directory; output, status ──▶ warm process ── fork ──▶ keeper ── fork ──▶ mta
         ◀── process id, exit status ──────────────────────────────────────────────────────────┘

Limitations: a start from nothing is not tested by it; tests of the README, the demo and hostile directories do that.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, NoReturn

from bench.service import Service

ROOT = Path(__file__).parents[1]
_LARGEST = 128 * 1024  # octets of a request


class ForkedProcess:
    """As much of ``subprocess.Popen`` as tests use."""

    def __init__(self, status: int) -> None:
        """``status``: the end of a pipe on which the keeper says the process id, then the exit status."""
        self._status, self._descriptor = os.fdopen(status, "rb", buffering=0), status
        self.pid = int(self._status.readline())
        self.returncode: int | None = None
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ready = select.poll()
            ready.register(self._descriptor, select.POLLIN)
            if not ready.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("mta", timeout or 0)
        with self._reading:
            if self.returncode is None:
                self.returncode = int(self._status.readline() or -signal.SIGKILL)
                self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _WarmProcess:
    """The side of the tests. It ends with them."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.warm_service", str(theirs.fileno())]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
        )
        theirs.close()

    def run(self, arguments: Sequence[str], output: int, errors: int) -> ForkedProcess:
        """Run ``mta ARGUMENTS`` in a session of its own."""
        request = {"arguments": arguments, "environment": dict(os.environ), "directory": os.getcwd()}
        status, theirs = os.pipe()
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], [output, errors, theirs])
        finally:
            os.close(theirs)
        return ForkedProcess(status)


@cache
def _warm() -> _WarmProcess:
    return _WarmProcess()


@dataclass
class WarmService(Service):
    """A service that starts quickly."""

    def launch(self, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes] | ForkedProcess:
        if self.environment or self.open_files:
            return super().launch(*arguments, output=output)
        return _warm().run(arguments, output.fileno(), output.fileno())

    def cli(self, *arguments: str, check: bool = True, patience: float = 120) -> str:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            ran = _warm().run([*arguments, "--config", str(self.config)], output.fileno(), errors.fileno())
            status = ran.wait(patience)
            told, failed = (os.pread(each.fileno(), 2**24, 0).decode() for each in (output, errors))
        if check and status:
            raise RuntimeError(f"mta {' '.join(arguments)}: {told}{failed}")
        return told


# --- the warm process


def _serve(control: socket.socket) -> None:
    """Fork what is asked for, until the tests have ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _LARGEST, 3)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _keep(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(request: dict, output: int, errors: int, status: int) -> NoReturn:  # type: ignore[type-arg]
    """Fork the command, wait for it, and tell how it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _become(request, output, errors, status)
    os.close(output)
    os.close(errors)
    os.write(status, f"{pid}\n".encode())
    _, ended = os.waitpid(pid, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def _become(request: dict, output: int, errors: int, status: int) -> NoReturn:  # type: ignore[type-arg]
    """Run ``mta`` in this process, until its end."""
    from mta.__main__ import main

    code: object = 1
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(errors, 2)
        for descriptor in (output, errors, status):
            os.close(descriptor)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["directory"])
        sys.argv = [str(ROOT / "mta" / "__main__.py"), *request["arguments"]]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    from mta.cli.main import build
    from mta.service import admin_side, fork_server, supervisor  # noqa: F401
    from mta.service.preload import preload

    build()
    preload(fork_server.MODULES)
    _serve(socket.socket(fileno=int(sys.argv[1])))
