"""What waits for a time: never leased at once, shown as such, and left alone by what is for other mail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from mta.mail.delivery import DelayReason
from mta.mail.identity import MessageId
from mta.mail.message import ByMode, DeliverBy, Release
from mta.observe.labels import QueueState
from mta.store.queue.enqueue import Delay, Queued
from mta.store.queue.holds import QueueChange
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from tests.unit.mta.store import make


async def delayed(store: Store, hours: float = 2, **more: Any) -> MessageId:
    new = make.accepted("ann@example.net", **more)
    until = new.message.origin.received_at + timedelta(hours=hours)
    new = replace(new, delays={"example.net": Delay(until, DelayReason.RELEASE)})
    assert await store.messages.enqueue(new, leased=True) == Queued()
    return new.message.id


async def test_what_waits_for_a_time_is_never_leased_and_has_a_state_of_its_own(store: Store) -> None:
    message = await delayed(store)
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    assert await store.queue.count_states() == {"ready": 0, "delayed": 1, "held": 0, "leased": 0}
    (entry,) = await store.queue.list(QueueFilter(state=QueueState.DELAYED))
    assert (entry.message_id, entry.delayed_by) == (message, DelayReason.RELEASE)
    assert timedelta(hours=1, minutes=59) < entry.due_at - make.now() <= timedelta(hours=2)
    assert await store.queue.oldest_unexpired_age() == 0


async def test_an_operators_retry_leaves_it_alone_unless_it_is_named(store: Store) -> None:
    message = await delayed(store)
    assert await store.queue.retry(QueueFilter()) == QueueChange(0)
    assert await store.queue.retry(QueueFilter(messages=(message,)), dry_run=True) == QueueChange(1)
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    assert await store.queue.retry(QueueFilter(messages=(message,))) == QueueChange(1)
    (claimed,) = await store.messages.claim(deliveries=10, octets=10**6)
    await store.messages.requeue([claimed], timedelta(hours=1), delayed_by=DelayReason.SEND_WINDOW)
    (entry,) = await store.queue.list(QueueFilter())
    assert (entry.state, entry.delayed_by) == (QueueState.DELAYED, DelayReason.SEND_WINDOW)


async def test_the_end_of_a_hold_is_not_the_end_of_its_time(store: Store) -> None:
    await delayed(store)
    await store.queue.hold(QueueFilter(), "why")
    assert await store.queue.release(QueueFilter()) == QueueChange(1)
    assert await store.messages.claim(deliveries=10, octets=10**6) == []
    assert (await store.queue.count_states())["delayed"] == 1


async def test_what_was_asked_for_comes_back_with_the_delivery(store: Store) -> None:
    asked = {
        "release": Release(make.now() - timedelta(minutes=1), "for;60"),
        "deliver_by": DeliverBy(make.now() + timedelta(hours=1), ByMode.NOTIFY, trace=True),
        "priority": -3,
    }
    delivery = await make.put(store, **asked)
    assert {name: getattr(delivery, name) for name in asked} == asked
    await store.messages.requeue([delivery], timedelta(0))
    (claimed,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert {name: getattr(claimed, name) for name in asked} == asked
    assert claimed.since == asked["release"].at  # type: ignore[attr-defined]
