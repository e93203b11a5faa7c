"""A worker whose messages of unknown fate cannot be withdrawn at once goes on trying, and claims again afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mta.observe.labels import BackgroundTask
from mta.observe.metrics import Metrics
from mta.store.postgres.database import Connection
from mta.store.postgres.errors import StoreUnavailable
from mta.store.store import Store
from tests.unit.mta.store import make


def current_task_name() -> str:
    task = asyncio.current_task()
    return task.get_name() if task else ""


@pytest.mark.parametrize(
    "error",
    [
        AttributeError("'NoneType' object has no attribute 'bind_execute'"),
        RuntimeError("unable to perform operation on <TCPTransport closed>; the handler is closed"),
        StoreUnavailable("away"),
    ],
    ids=repr,
)
async def test_the_task_that_withdraws_is_not_ended_by(
    error: Exception, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, session, tries = Metrics(), store._database.session, 0
    store._database.tasks._metrics = metrics

    @asynccontextmanager
    async def failing_twice(seconds: float | None = None) -> AsyncIterator[Connection]:
        nonlocal tries
        if tries < 2 and current_task_name() == BackgroundTask.WITHDRAW.value:
            tries += 1
            raise error
        async with session(seconds) as connection:
            yield connection

    accepted = make.accepted()
    await store.messages.enqueue(accepted, leased=True)
    store.accounts.changed(None)  # it asks the database meanwhile, as it may at any time
    monkeypatch.setattr(store._database, "session", failing_twice)
    store.messages._doubt([([accepted], store.lease.id)])
    with pytest.raises(StoreUnavailable, match="still to be withdrawn"):
        await store.messages.claim(deliveries=1, octets=1)

    await make.until(lambda: not store.messages._doubtful)
    assert await make.count(store, "queue") == 0
    assert await store.messages.claim(deliveries=1, octets=1) == []
    counter = metrics.background_task_failures[BackgroundTask.WITHDRAW]
    expected = 0 if isinstance(error, StoreUnavailable) else 2
    await make.until(lambda: counter.value >= expected)
    assert counter.value == expected
