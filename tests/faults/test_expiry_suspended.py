"""A queue that a clock makes look days older than it is: nothing of it expires, unless the clocks are trusted."""

from __future__ import annotations

import pytest

from mta.store.queue.clock import ClockFault
from mta.store.store import Store
from tests.unit.mta.queue.rig import dispatching
from tests.unit.mta.store.make import accepted, execute, hold, until

COUNT = 20


@pytest.mark.parametrize(("trusted", "kind"), [(True, "expired"), (False, "delivered")])
async def test_a_clock_that_was_set_expires_nothing(store: Store, trusted: bool, kind: str) -> None:
    old = [accepted(f"r{n}@example.net", hours=-1) for n in range(COUNT)]
    for message in old:
        await store.messages.enqueue(message, leased=False)
    await execute(store, "update queue set attempts = 1")
    if not trusted:
        store.clock._distrust(ClockFault("this machine's clock was set", 6 * 86_400), 0.0)
    async with dispatching(store) as rig:
        for message in old:
            assert await rig.until_event(message.message.id) == [(kind, 0)]


async def test_held_mail_stays_held(store: Store) -> None:
    async with dispatching(store) as rig:
        store.clock._distrust(ClockFault("this machine's clock was set", 6 * 86_400), 0.0)
        held = accepted("ann@example.net", hours=-1, hold=hold("a look"))
        await store.messages.enqueue(held, leased=False)
        marker = await rig.queue("ben@example.net")
        await rig.until_event(marker)  # a claim has been made since
        await until(lambda: rig.active_queue.deliveries == 0)
        assert await rig.queued("holds > 0 and lease is null") == 1
        assert await rig.events(held.message.id) == []
