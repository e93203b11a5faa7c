"""What nearly every command needs: the settings, and the store.

It must never start a second service: if the service's own PostgreSQL is not running it is started for the length of
the command only. It must never make a database for a mere question: in the wrong directory it would find nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from config.schema import Settings
from mta.cli.options import ConfigOption, fail, find_config
from mta.cli.settings import load
from mta.store.postgres.embedded import EmbeddedError, EmbeddedPostgres
from mta.store.postgres.errors import SchemaError, StoreUnavailable
from mta.store.postgres.migrate import migrate
from mta.store.postgres.secrets import SecretError, Secrets
from mta.store.store import Store

__all__ = ["ConfigOption", "fail", "find_config", "load", "open_store", "with_store"]

T = TypeVar("T")


@asynccontextmanager
async def open_store(settings: Settings, *, new: bool = False) -> AsyncIterator[Store]:
    """The store, connected and migrated; the embedded database is started if nobody runs it, made if ``new``."""
    started: EmbeddedPostgres | None = None
    url = settings.database.url
    if url is None:
        directory = settings.server.data_dir / "postgres"
        if not (new or directory.exists()):
            raise EmbeddedError(f"there is no database in {settings.server.data_dir}; is it the right --config?")
        embedded = EmbeddedPostgres(directory)
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


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]], *, new: bool = False, status: int = 1) -> T:
    """Run ``work(store)`` to its end; a store that cannot be opened is one line and exit status ``status``.

    ``new``: the work makes sense in a new database, which is made if there is none.
    """

    async def run() -> T:
        async with open_store(settings, new=new) as store:
            return await work(store)

    try:
        return asyncio.run(run())
    except StoreUnavailable as error:
        fail(f"the database cannot be reached: {error}", status=status)
    except (EmbeddedError, SchemaError, SecretError) as error:
        fail(str(error), status=status)
