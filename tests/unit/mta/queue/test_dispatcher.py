"""From a delivery in memory or in the store to its outcome, on a real store."""

from __future__ import annotations

from mta.delivery.egress.paths import PathKey
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.store.store import Store
from tests.unit.mta.queue.rig import GREYLISTED, REFUSED, by_address, dispatching, route
from tests.unit.mta.store.make import NO_USER, accepted, execute, until


async def test_a_fresh_message_is_delivered_from_memory(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        message = await rig.submit("ann@example.net", "ben@example.org")
        await rig.settled()
        assert sorted(rig.courier.attempts) == [("ann@example.net",), ("ben@example.org",)]
        assert sorted(await rig.events(message)) == [("delivered", 0), ("delivered", 1)]
        assert await rig.queued() == 0


async def test_what_is_due_is_taken_from_the_store(store: Store) -> None:
    async with dispatching(store) as rig:
        for n in range(20):
            await rig.queue(f"r{n}@d{n % 3}.example")
        await until(lambda: len(rig.courier.attempts) == 20)
        await rig.settled()
        assert len(set(rig.courier.attempts)) == 20
        assert await rig.queued() == 0


async def test_recipients_part_ways(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.answer = by_address(ben=(Stage.RECIPIENT, GREYLISTED), cat=(Stage.RECIPIENT, NO_USER))
        message = await rig.submit("ann@example.net", "ben@example.net", "cat@example.net")
        await rig.settled()
        assert sorted(await rig.events(message)) == [("deferred", 1), ("delivered", 0), ("failed", 2)]
        assert await rig.queued("recipient_index = 1 and lease is null and due_at > now() and attempts = 1") == 1
        assert await rig.queued() == 1


async def test_only_what_the_active_queue_holds_is_claimed(store: Store) -> None:
    async with dispatching(store, active_deliveries=3) as rig:
        rig.courier.hold()
        for n in range(10):
            await rig.queue(f"ann@d{n}.example")
        await until(lambda: rig.courier.running == 3)
        assert await rig.queued("lease is not null") == 3
        rig.courier.let(10)
        await until(lambda: len(rig.courier.attempts) == 10)
        await rig.settled()


async def test_no_route_is_an_outcome(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["gone.example"] = Reply(550, "5.1.2", "no such domain")
        rig.resolver.routes["dark.example"] = Reply(451, "4.4.3", "no name server answers")
        gone, dark = await rig.submit("ann@gone.example"), await rig.submit("ann@dark.example")
        await rig.settled()
        assert await rig.events(gone) == [("failed", 0)]
        assert await rig.events(dark) == [("deferred", 0)]
        assert rig.courier.attempts == []


async def test_a_route_is_looked_up_once_for_all_who_wait(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.blind = True
        for n in range(5):
            await rig.submit(f"r{n}@example.net")
        await rig.settled()
        assert len(rig.courier.attempts) == 5


async def test_a_resolver_that_breaks_keeps_nobody_waiting(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["odd.example"] = RuntimeError("a bug")
        first = await rig.submit("ann@odd.example")
        await rig.settled()
        second = await rig.submit("ben@odd.example")
        await rig.settled()
        assert await rig.events(first) == await rig.events(second) == [("deferred", 0)]


async def test_a_delivery_follows_its_route_to_another_ready_queue(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=1, initial_connections=1)
        await rig.submit("ann@example.net")
        await until(lambda: rig.courier.running == 1)
        await rig.submit("ben@example.net")
        rig.resolver.routes["example.net"] = route("elsewhere.example")
        rig.courier.let(2)
        await rig.settled()
        assert len(rig.courier.attempts) == 2
        assert rig.taken("elsewhere.example") == 1


async def test_an_operators_bounce_needs_no_route_and_no_ready_queue(store: Store) -> None:
    """Neither trouble in the DNS nor a site in backoff keeps a bounced message in the queue."""
    async with dispatching(store) as rig:
        rig.resolver.routes["dark.example"] = Reply(451, "4.4.3", "no name server answers")
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        rig.resolver.routes["down.example"] = route("down.example", backoff="1h", backoff_after=1)
        await rig.submit("ann@down.example")
        await rig.settled()
        queue = rig.dispatcher.ready_queues[PathKey("system", "down.example")]
        assert queue.throttle.site.until > 0
        await execute(store, "alter table queue alter bounce set default 'enough'")  # from their first moment on
        messages = [await rig.queue(f"ben@{domain}") for domain in ("dark.example", "down.example")]
        for message in messages:
            assert await rig.until_event(message) == [("failed", 0)]


async def test_what_is_over_is_not_attempted(store: Store) -> None:
    message = accepted("ann@example.net")
    await store.messages.enqueue(message, leased=False)
    await execute(
        store, "update queue set attempts = 1, due_at = now() - interval '1 h', expires_at = now() - interval '1 h'"
    )
    async with dispatching(store) as rig:
        assert await rig.until_event(message.message.id) == [("expired", 0)]
        assert rig.courier.attempts == []
        await rig.settled()
