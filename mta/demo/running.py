"""The service under the demo: its database, an account, and the process itself, started and ended in order.

It must never leave a process or a file behind, however the demo ends: see also ``mta.demo.service``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from config.load import load_file
from mta.demo.permission import prepare
from mta.demo.submit import SubmissionLogin
from mta.demo.world import DOMAIN, World
from mta.smtp_server.auth.authenticator import make_verifiers, new_secret
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import AccountStatus

READY_WITHIN = 20.0  # seconds
STOP_WITHIN = 15.0
ACCOUNT = "demo"


class DemoError(Exception):
    """Why the demo cannot go on; the text is for its user."""


@asynccontextmanager
async def database(world: World) -> AsyncIterator[Store]:
    """The demo's own PostgreSQL, new and with the schema. Raises EmbeddedError."""
    embedded = EmbeddedPostgres(world.directory / "data" / "postgres")
    try:
        dsn = await asyncio.to_thread(embedded.start)
        await migrate(dsn)
        secrets = Secrets.load_or_create(world.directory / "data" / "secret")
        store = await Store.open(dsn, load_file(world.config).database, secrets)
        try:
            yield store
        finally:
            await store.close()
    finally:
        await asyncio.to_thread(embedded.remove)


async def open_account(store: Store) -> SubmissionLogin:
    """An account that may send for DOMAIN, and its credential."""
    login = SubmissionLogin(f"{ACCOUNT}-1", new_secret())
    argon2, scram = await asyncio.to_thread(make_verifiers, login.secret)
    account = await store.accounts.add(
        ACCOUNT, domains=[DOMAIN], status=AccountStatus.ACTIVE, verified=True, by="mta demo", reason="the demo's own"
    )
    await store.credentials.add(account.id, login.username, argon2=argon2, scram=scram)
    await prepare(store, account.id, DOMAIN)
    return login


class DemoService:
    """The service's process, which puts everything away when the demo has gone."""

    def __init__(self, process: asyncio.subprocess.Process, log: BinaryIO) -> None:
        self._process, self._log = process, log

    async def start(self, world: World) -> None:
        """Let it serve; it is ready for mail on return. Raises DemoError with the end of its log."""
        assert self._process.stdin
        self._process.stdin.write(b"serve\n")
        if not await _becomes_ready(world.web_port, self._process):
            self._log.seek(0)
            text = self._log.read()[-2000:].decode("utf-8", "replace")
            raise DemoError(f"the service did not start:\n{text}")

    async def stop(self) -> None:
        """Close the pipe that keeps it alive; kill its whole session if that does not help."""
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
    """The process, waiting for ``start``; at the end it, all that it started, and ``directory`` are gone."""
    with open(directory / "service.log", "w+b") as log:  # noqa: ASYNC230  a new file in our own directory
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mta.demo.service",
            str(directory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for the demo, which then ends the service in order
        )
        running = DemoService(process, log)
        try:
            yield running
        finally:
            await running.stop()
            shutil.rmtree(directory, ignore_errors=True)


async def _becomes_ready(port: int, process: asyncio.subprocess.Process) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_WITHIN):
            while process.returncode is None:
                if await _is_ready(port):
                    return True
                await asyncio.sleep(0.1)
    return False


async def _is_ready(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        return b" 200 " in await reader.readline()
    except OSError:
        return False
    finally:
        writer.close()
