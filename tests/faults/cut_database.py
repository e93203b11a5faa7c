"""A service whose connections to PostgreSQL are cut, torn, half-closed or stalled at random messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from mta.store.postgres.embedded import EmbeddedPostgres
from tests.faults.crashes import Fault
from tests.faults.proxy import DatabaseProxy, Direction, FaultKind, PlannedFault
from tests.faults.trial import Standing, Trial, stand
from tests.flow.harness import open_directory

CUTS = 3  # in one trial
MESSAGES = 60  # of the protocol, among which the cut is


def missing() -> str | None:
    return None


@contextlib.asynccontextmanager
async def standing() -> AsyncIterator[tuple[Standing, Fault]]:
    with open_directory() as directory, open_directory() as server_directory:
        server = EmbeddedPostgres(server_directory / "postgres")
        dsn = await asyncio.to_thread(server.start)
        proxy = DatabaseProxy(dsn)
        await proxy.start()

        async def cut(this: Trial) -> None:
            """Three times, each at a message that the seed chooses."""
            for _ in range(CUTS):
                kind, direction = this.random.choice(list(FaultKind)), this.random.choice(list(Direction))
                proxy.arm(PlannedFault(kind, direction, this.random.randint(1, MESSAGES)))
                this.struck()
                await this.moment()
                proxy.disarm()

        made = await asyncio.to_thread(stand, directory, None, database={"url": proxy.dsn})
        made.database = dsn
        try:
            yield made, cut
        finally:
            await asyncio.to_thread(made.service.stop)
            await proxy.stop()
            await asyncio.to_thread(server.stop)
