"""What every test may ask for: a real PostgreSQL, a database of its own, the store upon it.

One server serves the whole run, all xdist workers included; the last one to leave stops and deletes it. Each test gets
a fresh database, copied from a template that has the schema. fsync is off there, and its files are in memory where
there is room; a test of crashes takes ``own_postgres``, a server of its own that keeps its promises. ``POSTGRES_BIN``
is the folder of PostgreSQL programs to test with, if it is not to be looked for.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store

_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{time.time_ns()}"
_PREFIX = "imprimatur-test-"
_TEMPLATE = "imprimatur_template"
_PROGRAMS = Path(os.environ["POSTGRES_BIN"]) if "POSTGRES_BIN" in os.environ else None
_numbers = itertools.count(1)

_MEMORY = Path("/dev/shm")  # a file system in memory: a database is copied there in a fifth of the time
_ROOM = 4 * 2**30  # octets that must be free


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Tests run on the loop that the service runs on."""
    return {"uvloop": uvloop.new_event_loop}


def _base() -> Path:
    """Where the run's server is."""
    if _MEMORY.is_mount() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM:
        return _MEMORY
    return Path(tempfile.gettempdir())


def database_dsn(server: str, name: str) -> str:
    """The DSN of another database on the same server."""
    return server.replace("/postgres?", f"/{name}?")


def _block(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` on a loop of its own, so that it may be called while pytest-asyncio has one."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _command(server: str, *statements: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _make_template(server: str) -> None:
    connection = await asyncpg.connect(server)
    try:
        if await connection.fetchval("select count(*) from pg_database where datname = $1", _TEMPLATE):
            return
        await connection.execute("create database imprimatur_building")
        await migrate(database_dsn(server, "imprimatur_building"))
        # migrate leaves at once, its backend a moment later: let it go before the rename, which needs an empty house
        await connection.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = 'imprimatur_building'"
        )
        await connection.execute(f"alter database imprimatur_building rename to {_TEMPLATE}")
    finally:
        await connection.close()


def _clear_leftovers(base: Path) -> None:
    """Servers of runs that were killed: nobody holds their locks any more."""
    for folder in base.glob(f"{_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > 600 and folder.stat().st_uid == os.geteuid():
            EmbeddedPostgres(folder / "postgres").remove()
            _tidy(folder)


def _tidy(folder: Path) -> None:
    """Remove the folder of a server that is gone; another worker may be still at it, or faster."""
    if not (folder / "postgres").exists():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of the run's server (database ``postgres``)."""
    base = _base()
    _clear_leftovers(base)
    folder = base / f"{_PREFIX}{_RUN}"
    folder.mkdir(mode=0o755, exist_ok=True)
    server = EmbeddedPostgres(folder / "postgres", durable=False, programs=_PROGRAMS, connections=300)
    dsn = server.start()
    with open(folder / "template.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _block(_make_template(dsn))
    yield dsn
    server.remove()
    _tidy(folder)


def new_database(postgres_server: str) -> Iterator[str]:
    """DSN of an empty database with the schema; it is dropped in the end."""
    name = f"t{os.getpid()}_{next(_numbers)}"
    # Copying the files costs a quarter of logging every page, which is the server's own choice.
    _block(_command(postgres_server, f"create database {name} template {_TEMPLATE} strategy file_copy"))
    yield database_dsn(postgres_server, name)
    _block(_command(postgres_server, f"drop database {name} with (force)"))


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """DSN of an empty database with the schema, for this test alone."""
    yield from new_database(postgres_server)


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A durable server for this test alone, not started yet: to be stopped, killed and started at will."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the server's account must get in
        server = EmbeddedPostgres(Path(folder) / "postgres", programs=_PROGRAMS)
        yield server
        server.remove()


@pytest.fixture
def database_settings() -> DatabaseSettings:
    return DatabaseSettings()


@pytest.fixture
def secrets() -> Secrets:
    return Secrets(bytes(range(32)))


@asynccontextmanager
async def opened(url: str, settings: DatabaseSettings, secrets: Secrets) -> AsyncIterator[Store]:
    """A store with its worker's lease registered."""
    store = await Store.open(url, settings, secrets)
    await store.lease.register()
    yield store
    await store.close()


@pytest.fixture
async def store(database_url: str, database_settings: DatabaseSettings, secrets: Secrets) -> AsyncIterator[Store]:
    """The store on this test's database, with its worker's lease registered."""
    async with opened(database_url, database_settings, secrets) as store:
        yield store


@pytest.fixture
async def other(database_url: str, database_settings: DatabaseSettings, secrets: Secrets) -> AsyncIterator[Store]:
    """The store of another worker, on the same database."""
    async with opened(database_url, database_settings, secrets) as store:
        yield store
