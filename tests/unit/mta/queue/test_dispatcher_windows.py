"""Send windows in the dispatcher: nothing is tried while one is closed, and nothing waits beyond its end."""

from __future__ import annotations

from datetime import timedelta

from config.delivery import SendWindowSettings
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from tests.unit.mta.queue.rig import dispatching
from tests.unit.mta.store.make import execute, now, until


def closed() -> list[SendWindowSettings]:
    """An hour that begins in two."""
    opens = now() + timedelta(hours=2)
    hours = f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}"
    return [SendWindowSettings.model_validate({"name": "w", "times": [f"mon-sun {hours}"], "zone": "UTC"})]


async def test_what_comes_while_it_is_closed_waits_in_the_store(store: Store) -> None:
    async with dispatching(store, takes=False, send_windows=closed()) as rig:
        await rig.submit("ann@example.net")
        await until(lambda: rig.active_queue.deliveries == 0)
        (entry,) = await store.queue.list(QueueFilter())
        assert timedelta(hours=1, minutes=58) < entry.due_at - now() < timedelta(hours=2, seconds=1)
        assert entry.attempts == 0
        assert rig.courier.attempts == []


async def test_what_expires_while_it_is_closed_fails_untried(store: Store) -> None:
    async with dispatching(store, send_windows=closed()) as rig:
        message = await rig.submit("ann@example.net")
        await until(lambda: rig.active_queue.deliveries == 0)
        await execute(store, "update queue set due_at = now() - interval '1 s', expires_at = now() - interval '1 s'")
        assert await rig.until_event(message) == [("expired", 0)]
        assert await rig.queued() == 0
        assert rig.courier.attempts == []
