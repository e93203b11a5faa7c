"""Run a child process: start it, send it control messages, read its status, and restart it when it ends by itself.

Both sides hold one end of a socket pair, and no other process does. The end of the stream means stop, also when the
supervisor was killed. When the child ends, so does its side of the stream.

Invariants: a child is not started again after ``stop``. A child that cannot be started does not end the service.

A child that hangs (stopped by a signal, or in an endless loop) is killed once it has missed so many reports in a row
that its ``patience`` is over. They are counted by the beats of the supervisor: if that, or the machine, stood still as
well, no report was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial

from config.schema import Settings
from mta.admin.service.reload import ReloadReply
from mta.observe.log import get_logger
from mta.service import control_channel
from mta.service.control_channel import ControlMessage, Reload, ReloadAnswer, ReloadRequest, Start
from mta.service.fork_server import ForkedProcess, ForkServer

log = get_logger()

AnswerReload = Callable[[ReloadReply], None]

RESTART_AFTER = 1.0  # seconds; doubles with each failure in a row, up to RESTART_AT_MOST
RESTART_AT_MOST = 30.0
BEAT = 1.0  # seconds between two reports, and between two calls of ``kill_if_silent``
STARTED_WITHIN = 120.0  # seconds until the first report of a life, on a slow machine
ENDED_WITHIN = 30.0  # seconds from the end of its stream to its own
HEALTHY_AFTER = 60.0  # seconds after which a child's earlier failures are forgotten
NO_RELOAD = ReloadReply(["this process may not ask for a reload"])


class Child:
    """One child process and its successors.

    It runs ``main`` of ``module``, as ``user`` if we are root. ``ready()`` is called at the first status report after
    each start, ``ended(pid)`` at each end. ``report`` is the last status, of the time ``seen_at`` (seconds since 1970).
    ``reload_asked(dry_run, answer)``: it asks for a reload; ``answer`` may be called later.
    ``stop`` closes our copies of ``sockets``. ``patience``: seconds without a report after which it is killed.
    """

    def __init__(
        self,
        fork_server: ForkServer,
        name: str,
        module: str,
        start: Start,
        sockets: tuple[socket.socket, ...] = (),
        *,
        user: str | None = None,
        patience: float = 60.0,
        ready: Callable[[], None] = lambda: None,
        ended: Callable[[int], None] = lambda _: None,
        reload_asked: Callable[[bool, AnswerReload], None] = lambda _, answer: answer(NO_RELOAD),
    ) -> None:
        self.name = name
        self.start = start
        self.restarts = 0
        self.seen_at = 0.0
        self.report: dict[str, object] = {}
        self._fork_server = fork_server
        self._module = module
        self._sockets = sockets
        self._user = user
        self._patience = patience
        self._beats_left = 0
        self._ready = ready
        self._ended = ended
        self._reload_asked = reload_asked
        self._process: ForkedProcess | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id, None if it is not running."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Run it, and restart it when it ends, until ``stop`` is called and it has ended."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                status = await self._run_once()
            except OSError as error:  # out of processes or file descriptors
                log.error("child not started", child=self.name, reason=str(error))
                status = None
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began > HEALTHY_AFTER else failures + 1
            self.restarts += 1
            wait = restart_delay(failures)
            log.error("child ended", child=self.name, status=status, restart_in=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    def send(self, message: ControlMessage) -> None:
        """Send it a control message, if it is running."""
        if self._writer:
            _send(self._writer, message)

    def reload(self, settings: Settings) -> None:
        """Pass new settings to it and to its successors."""
        self.start = self.start.reloaded(settings)
        self.send(Reload(settings))

    def stop(self) -> None:
        """Tell it to stop, and do not restart it."""
        self._stopping.set()
        for sock in self._sockets:
            sock.close()  # or connections would queue up on our copy
        if self._writer and not self._writer.is_closing():
            self._writer.write_eof()

    def kill_if_silent(self) -> bool:
        """Count a beat; kill it if it has been silent for too many of them. Return whether it was killed."""
        if self._process is None:
            return False
        self._beats_left -= 1
        if self._beats_left != 0:
            return False
        log.error(
            "child killed: it hangs, and has reported nothing", child=self.name, pid=self.pid, seen_at=self.seen_at
        )
        self.kill()
        return True

    def kill(self) -> None:
        """Kill it, if it is running."""
        if self._process:
            self._process.kill()

    async def _run_once(self) -> int | None:
        """Start it and wait for its end. Return its exit status, None if unknown. Raises OSError."""
        self._beats_left = int(max(self._patience, STARTED_WITHIN) / BEAT)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = self._process = await self._fork_server.start(
                    self.name, self._module, (theirs, *self._sockets), user=self._user
                )
            except BaseException:
                ours.close()
                raise
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours)
            control_channel.send(self._writer, self.start)
            log.info("child started", child=self.name, pid=process.pid)
            if self._stopping.is_set():  # stopped while it was being started
                self._writer.write_eof()
            reported = False
            while (status := await control_channel.status(reader)) is not None:
                if isinstance(status, ReloadRequest):
                    self._reload_asked(status.dry_run, partial(_answer, self._writer, status.number))
                    continue
                self.report, self.seen_at = status, time.time()
                self._beats_left = max(1, int(self._patience / BEAT))
                if not reported:
                    reported = True
                    self._ready()
            try:
                async with asyncio.timeout(ENDED_WITHIN):
                    return await process.wait()
            except TimeoutError:  # it lives on without its stream, or the fork server does not tell
                process.kill()
                return None
        finally:
            self._process = None
            if self._writer:
                self._writer.close()
            self._ended(process.pid)


def _answer(writer: asyncio.StreamWriter, number: int, reply: ReloadReply) -> None:
    """Answer a request of the life that ``writer`` belongs to: a successor has numbers of its own."""
    _send(writer, ReloadAnswer(number, reply))


def _send(writer: asyncio.StreamWriter, message: ControlMessage) -> None:
    if not writer.is_closing():
        control_channel.send(writer, message)


def restart_delay(failures: int) -> float:
    """Return the seconds to wait before the next start after ``failures`` (1 or more) in a row."""
    return min(RESTART_AT_MOST, RESTART_AFTER * 2.0 ** min(failures - 1, 16))
