"""What must hold after a fault, whatever it was: an answer in time, and a store that works again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from config.schema import DatabaseSettings as DatabaseSettings
from mta.mail.message import Stream
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.faults.store_calls import CALLS
from tests.unit.mta.store import make

QUICK = DatabaseSettings(timeout="300ms", pool_size=3)
ANSWERED_WITHIN = 5.0  # seconds: the deadline of the call, several times, on a slow machine
RECOVERED_WITHIN = 20.0


@dataclass
class Subject:
    """``store`` is the one that meets faults; ``direct`` sees the same database as it is."""

    store: Store
    direct: Store
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def strike(self, name: str, arm: Callable[[], None], disarm: Callable[[], bool]) -> tuple[bool, bool]:
        """Make one call under a fault, check what must hold, and return whether it succeeded and the fault struck."""
        call = await CALLS[name](self.store)
        before = await make.count(self.direct, "queue")
        arm()
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                await call()
            done = True
        except StoreUnavailable:
            done = False
        struck = disarm()
        assert done or struck, "unavailable without a reason"
        await self.recover()
        left = await make.count(self.direct, "queue")
        assert left >= before - LEAVING.get(name, 0), "what was queued is still queued"
        return done, struck

    async def recover(self) -> None:
        """Wait until the store works again, by itself. Raises TimeoutError if it does not."""
        store = self.store
        async with asyncio.timeout(RECOVERED_WITHIN):
            while True:
                with suppress(StoreUnavailable):
                    await store.lease.renew()
                    for stream in Stream:
                        await store.messages.claim(deliveries=100, octets=10_000_000, stream=stream)
                    break
                await asyncio.sleep(0.01)
            await self._is_notified()
        assert not store.messages._doubtful
        assert not store.messages._unknown_claims
        assert all(not task.done() for task in store._database.tasks._states)
        await make.until(lambda: store._database._pool._free._value == QUICK.pool_size)  # no place in the pool is lost

    async def _is_notified(self) -> None:
        """Changes are heard of again."""
        self.heard.clear()
        while not self.heard.is_set():
            await make.execute(self.direct, "select pg_notify('probe', '')")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.heard.wait(), 0.1)


LEAVING = {"record_delivered": 1, "record_mixed": 1, "withdraw": 1}  # recipients that such a call takes off the queue


@asynccontextmanager
async def subject(dsn: str, direct_dsn: str, secrets: Secrets) -> AsyncIterator[Subject]:
    store, direct = await Store.open(dsn, QUICK, secrets), await Store.open(direct_dsn, QUICK, secrets)
    made = Subject(store, direct)
    await store.lease.register()
    await store.listen("probe", lambda payload: made.heard.set() if payload is not None else None)
    yield made
    await store.close()
    await direct.close()
