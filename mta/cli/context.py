"""What nearly every command needs: the settings, and the store.

It must never start a second service: if the service's own PostgreSQL is not running it is started for the length of
the command only.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from config.load import ConfigError, load_file

from config.schema import Settings
from mta.store.embedded import EmbeddedPostgres
from mta.store.migrate import migrate
from mta.store.secrets import Secrets
from mta.store.store import Store, StoreUnavailable

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Configuration file; else $MTA_CONFIG, ./mta.toml or /etc/imprimatur/mta.toml."
    ),
]


def find_config(given: Path | None) -> Path | None:
    """The configuration file to use, or None for the shipped defaults."""
    if given is not None:
        return given
    if named := os.environ.get("MTA_CONFIG"):
        return Path(named)
    return next((path for path in (Path("mta.toml"), Path("/etc/imprimatur/mta.toml")) if path.is_file()), None)


def load(given: Path | None) -> Settings:
    """The settings, or the mistakes on standard error and exit status 2."""
    try:
        return load_file(find_config(given))
    except ConfigError as error:
        fail("\n".join(error.lines), status=2)


def fail(text: str, *, status: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(status)


@asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """The store, connected and migrated; the embedded database is started if nobody runs it."""
    started: EmbeddedPostgres | None = None
    url = settings.database.url
    if url is None:
        embedded = EmbeddedPostgres(settings.server.data_dir / "postgres")
        url = embedded.running()
        if url is None:
            url, started = await asyncio.to_thread(embedded.start), embedded
    try:
        await migrate(url)
        secrets = Secrets.load_or_create(settings.server.secret_file or settings.server.data_dir / "secret")
        store = await Store.open(url, settings.database, secrets)
        try:
            yield store
        finally:
            await store.close()
    finally:
        if started:
            await asyncio.to_thread(started.stop)


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Run ``work(store)`` to its end; a database that cannot be reached is one line and exit status 1."""

    async def run() -> T:
        async with open_store(settings) as store:
            return await work(store)

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        fail(f"the database cannot be reached: {error}")
