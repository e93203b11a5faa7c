"""A child process of the supervisor: started, told what to do, watched, and started again when it ends by itself.

It is told over a socket pair that only the two hold; the end of that stream tells it to stop, and stops it also when
the supervisor dies without a word.

It must never be started again once it was told to stop, and never let a failure to start one end the service.

*Limits.* A child that lives but does nothing is not noticed here: ``seen_at`` says when it last reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from config.schema import Settings
from mta.observe.log import get_logger
from mta.service import control_channel
from mta.service.control_channel import ControlMessage, Reload, Start

log = get_logger()

RESTART_AFTER = 1.0  # seconds; doubles with each failure in a row, up to RESTART_AT_MOST
RESTART_AT_MOST = 30.0
HEALTHY_AFTER = 60.0  # seconds after which a child's earlier failures are forgotten
# Messages come and go as large pieces of memory. To ask the kernel anew for each costs a worker up to half of its time
# with the store (page faults); it keeps some instead. The names are those of the C library.
MEMORY = {"MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "8388608"}


class Child:
    """``module``: what it runs, as ``user`` if we are root. ``ended(pid)`` is called at each of its ends.

    ``seen_at``: when it last reported (seconds since 1970), and ``report`` what. ``sockets`` are left to it at a stop.
    """

    def __init__(
        self,
        name: str,
        module: str,
        start: Start,
        sockets: tuple[socket.socket, ...] = (),
        *,
        user: str | None = None,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.start = start
        self.restarts = 0
        self.seen_at = 0.0
        self.report: dict[str, object] = {}
        self._module = module
        self._sockets = sockets
        self._user = user
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
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
        if self._writer:
            self._writer.close()

    def kill(self) -> None:
        """End it at once, if it lives."""
        if self._process:
            self._process.kill()

    async def _live(self) -> int:
        """One life, from its start to its exit status. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = self._process = await self._execute(theirs)
            except BaseException:
                ours.close()
                raise
        try:
            reader, self._writer = await asyncio.open_connection(sock=ours)
            control_channel.send(self._writer, self.start)
            log.info("started", child=self.name, pid=process.pid)
            if self._stopping.is_set():  # told while it was being started
                self._writer.close()
            while (status := await control_channel.status(reader)) is not None:
                self.report, self.seen_at = status, time.time()
            return await process.wait()
        finally:
            self._process = None
            if self._writer:
                self._writer.close()
            self._ended(process.pid)

    async def _execute(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            "-m",
            self._module,
            str(theirs.fileno()),
            pass_fds=[theirs.fileno(), *(sock.fileno() for sock in self._sockets)],
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **MEMORY},
            **_identity(self._user),
        )


def pause(failures: int) -> float:
    """Seconds before the next start after ``failures`` (1 or more) in a row."""
    return min(RESTART_AT_MOST, RESTART_AFTER * 2.0 ** min(failures - 1, 16))


def _identity(user: str | None) -> dict[str, Any]:
    """Who a child is to be: all of ``user`` and nothing of root, its groups included."""
    if user is None or os.geteuid() != 0:
        return {}
    account = pwd.getpwnam(user)
    groups = os.getgrouplist(user, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
