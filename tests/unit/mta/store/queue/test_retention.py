"""What is old goes, what is queued stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.identity import new_message_id
from mta.store.queue import retention
from mta.store.queue.retention import Swept, first_id_of, sweep
from mta.store.store import Store
from tests.unit.mta.store import make

DAY = 86_400.0


def test_an_id_tells_its_time() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert first_id_of(before) < new_message_id() < first_id_of(datetime.now(UTC) + timedelta(milliseconds=1))


@pytest.fixture
async def history(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Seven messages delivered, one queued, in pieces that are swept by threes."""
    monkeypatch.setattr(retention, "CHUNK", 3)
    for _ in range(7):
        await make.write(store, make.result(await make.put(store)))
    await make.put(store)
    await make.turn_ring(store)
    await store.events.record("suppressed", None, None, {"reason": "x"})
    return store


async def test_nothing_young_is_deleted(history: Store) -> None:
    assert await history.messages.sweep(DAY) == Swept(0, 0)
    assert [await make.count(history, each) for each in ("message", "event", "content_kept")] == [8, 8, 1]


async def test_what_is_old_and_done_is_deleted_with_its_events(history: Store) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1, seconds=10)
    assert await sweep(history._database, tomorrow, DAY) == Swept(7, 0)
    assert [await make.count(history, each) for each in ("message", "event", "queue", "content_kept")] == [1, 0, 1, 1]


async def test_content_without_queue_rows_is_found(history: Store) -> None:
    for _ in range(5):
        await make.put(history, size=20_000)
    await make.turn_ring(history)
    await make.execute(
        history, "delete from queue where message_id in (select message_id from queue order by 1 limit 5)"
    )
    assert await history.messages.sweep(DAY) == Swept(0, 5)
    assert await make.count(history, "content_kept") == 3
