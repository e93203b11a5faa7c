"""A child process of the supervisor: started, told what to do, watched, and started again when it ends by itself.

It is told over a socket pair that only the two hold; the end of that stream tells it to stop, and stops it also when
the supervisor dies without a word. When the child ends, its end of the stream closes.

It must never be started again once it was told to stop, and never let a failure to start one end the service.

*Limits.* A child that lives but does nothing is not noticed here: ``seen_at`` says when it last reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

from config.schema import Settings
from mta.observe.log import get_logger
from mta.service import control_channel
from mta.service.control_channel import ControlMessage, Reload, Start
from mta.service.fork_server import ForkedProcess, ForkServer

log = get_logger()

RESTART_AFTER = 1.0  # seconds; doubles with each failure in a row, up to RESTART_AT_MOST
RESTART_AT_MOST = 30.0
HEALTHY_AFTER = 60.0  # seconds after which a child's earlier failures are forgotten


class Child:
    """``module``: what it runs, as ``user`` if we are root. ``ready()`` is called at its first report after each start,
    ``ended(pid)`` at each of its ends.

    ``seen_at``: when it last reported (seconds since 1970), and ``report`` what. ``sockets`` are left to it at a stop.
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
        ready: Callable[[], None] = lambda: None,
        ended: Callable[[int], None] = lambda _: None,
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
        self._ready = ready
        self._ended = ended
        self._process: ForkedProcess | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Its process id, if it lives."""
        return self._process.pid if self._process else None

    async def keep(self) -> None:
        """Keep it running until it is told to stop, and has stopped."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                status = await self._live()
            except OSError as error:  # no processes or descriptors to be had
                log.error("a child cannot be started", child=self.name, reason=str(error))
                status = None
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - began > HEALTHY_AFTER else failures + 1
            self.restarts += 1
            wait = pause(failures)
            log.error("a child ended by itself", child=self.name, status=status, restart_in=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    def tell(self, order: ControlMessage) -> None:
        """Pass an order on, if it lives."""
        if self._writer and not self._writer.is_closing():
            control_channel.send(self._writer, order)

    def reload(self, settings: Settings) -> None:
        """New settings, for it and for its successors."""
        self.start = self.start.reloaded(settings)
        self.tell(Reload(settings))

    def stop(self) -> None:
        """Tell it to stop, and start it no more."""
        self._stopping.set()
        for sock in self._sockets:
            sock.close()  # or connections would queue up on our copy
        if self._writer and not self._writer.is_closing():
            self._writer.write_eof()

    def kill(self) -> None:
        """End it at once, if it lives."""
        if self._process:
            self._process.kill()

    async def _live(self) -> int | None:
        """Start it and wait for its end. Returns its exit status, None if unknown. Raises OSError."""
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
            log.info("started", child=self.name, pid=process.pid)
            if self._stopping.is_set():  # told while it was being started
                self._writer.write_eof()
            reported = False
            while (status := await control_channel.status(reader)) is not None:
                self.report, self.seen_at = status, time.time()
                if not reported:
                    reported = True
                    self._ready()
            return await process.wait()
        finally:
            self._process = None
            if self._writer:
                self._writer.close()
            self._ended(process.pid)


def pause(failures: int) -> float:
    """Seconds before the next start after ``failures`` (1 or more) in a row."""
    return min(RESTART_AT_MOST, RESTART_AFTER * 2.0 ** min(failures - 1, 16))
