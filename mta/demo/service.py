"""The demo's service: the process itself, and its controller in the demo.

    python -m mta.demo.service DIRECTORY    with mta.toml in it; standard input is a pipe from the demo

The process is started first and waits for a line before it serves, so that it can clean up from the beginning. When the
demo closes its end of the pipe, in order or by being killed, the service and the database are stopped and the directory
is deleted.

Invariants: No process and no file is left behind, however the demo ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from config.load import load_file
from mta.isolation import python_command
from mta.observe.log import configure
from mta.service.fork_server import ForkServer
from mta.service.supervisor import Supervisor
from mta.store.postgres.embedded import EmbeddedPostgres

READY_WITHIN = 120.0  # seconds; a slow machine needs most of them
TELL_EVERY = 10.0
ANSWER_WITHIN = 5.0
STOP_WITHIN = 15.0


class DemoError(Exception):
    """Why the demo cannot continue; the text is for its user."""


class DemoService:
    """Controls the service's process."""

    def __init__(self, process: asyncio.subprocess.Process, log: BinaryIO) -> None:
        self._process, self._log = process, log

    async def start(self, web_port: int, tell: Callable[[str], None]) -> None:
        """Let it serve, and wait until it is ready; ``tell`` what is waited for. Raises DemoError with the reason."""
        assert self._process.stdin
        self._process.stdin.write(b"serve\n")
        state, begun = "it does not answer yet", time.monotonic()
        told = begun
        while (now := time.monotonic()) < begun + READY_WITHIN and self._process.returncode is None:
            state = await _state(web_port)
            if not state:
                return
            if now > told + TELL_EVERY:
                tell(f"Waiting for the service, {now - begun:.0f} s: {state} ...")
                told = now
            await asyncio.sleep(0.1)
        ended = self._process.returncode
        why = f"was not ready within {READY_WITHIN:.0f} s: {state}" if ended is None else f"ended with status {ended}"
        self._log.seek(0)
        text = self._log.read()[-2000:].decode("utf-8", "replace").strip()
        raise DemoError(f"the service {why}\n{text or 'It has logged nothing; the machine may be too busy.'}")

    async def stop(self) -> None:
        """Close the pipe, which stops it; kill its whole session if that does not help."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_WITHIN):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()


@asynccontextmanager
async def service(directory: Path) -> AsyncIterator[DemoService]:
    """Start the process, which waits for ``start``; at the end stop it and delete ``directory``."""
    with open(directory / "service.log", "w+b") as log:  # noqa: ASYNC230  a new file in our own directory
        process = await asyncio.create_subprocess_exec(
            *python_command("mta.demo.service", str(directory)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
        )
        running = DemoService(process, log)
        try:
            yield running
        finally:
            await running.stop()
            shutil.rmtree(directory, ignore_errors=True)


async def _state(port: int) -> str:
    """Return what is missing until the service is ready, "" for nothing."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
        if b" 200 " in head.partition(b"\r\n")[0]:
            return ""
        checks = json.loads(body)["checks"]
        return "; ".join(f"{each['name']}: {each['detail']}" for each in checks if not each["ok"]) or "not ready"
    except (OSError, TimeoutError, ValueError, KeyError):
        return "it does not answer yet"


# --- in the process


def main() -> None:
    directory = Path(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the demo acts on them
    fork_server = ForkServer()
    try:
        fork_server.fork()
        if os.read(0, 1):
            threading.Thread(target=_stop_with_demo, daemon=True).start()
            settings = load_file(directory / "mta.toml")
            configure(settings.observe.log_level, process="supervisor")
            asyncio.run(Supervisor(directory / "mta.toml", settings, fork_server).run())
    finally:
        _clean_up(directory)


def _clean_up(directory: Path) -> None:
    """Delete everything, unless the demo is still running: it uses the database and deletes everything itself."""
    data = directory / "data" / "postgres"
    EmbeddedPostgres(data).remove()
    if not data.exists():
        shutil.rmtree(directory, ignore_errors=True)


def _stop_with_demo() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
