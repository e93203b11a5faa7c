"""Keep a key ring's keys of the store as the database has them."""

from __future__ import annotations

import asyncio

from mta.dkim import KeyRing
from mta.observe.background import BackgroundTasks
from mta.observe.labels import BackgroundTask
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store

CHANNEL = "keys"


async def follow_stored_keys(store: Store, keys: KeyRing, tasks: BackgroundTasks) -> asyncio.Task[None]:
    """Read the DKIM keys that are in the store, now and whenever one changes. Raises StoreUnavailable."""
    changed = asyncio.Event()

    async def read() -> None:
        keys.replace_stored(await store.dkim_keys.list())

    async def follow() -> None:
        while True:
            await changed.wait()
            changed.clear()
            try:
                await read()
            except StoreUnavailable:
                changed.set()
                raise

    await read()
    await store.listen(CHANNEL, lambda _: changed.set())
    return tasks.start(BackgroundTask.KEYS, follow)
