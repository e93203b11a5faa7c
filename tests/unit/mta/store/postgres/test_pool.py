"""The pool of connections."""

from __future__ import annotations

import asyncio

import pytest

from mta.store.postgres import database as module
from mta.store.store import Store


async def test_connections_that_are_not_used_are_closed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    database, together = store._database, asyncio.Barrier(3)

    async def hold() -> None:
        async with database.session():
            await together.wait()

    await asyncio.gather(*(hold() for _ in range(3)))
    many = [connection for _, connection in database._idle]
    assert len(many) >= 3
    monkeypatch.setattr(module, "UNUSED", -1.0)
    for _ in many[1:]:
        async with database.session():
            pass
    assert len(database._idle) <= 1
    assert sum(each.is_closed() for each in many) >= len(many) - 1
