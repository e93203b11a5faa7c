"""What must never be lost, sent twice or sent to the wrong: leases, suppressions, outages and bugs of our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mta.delivery.egress.paths import PathKey
from mta.delivery.name_servers import NotAsked
from mta.delivery.shortage import Shortage
from mta.mail.address import Address
from mta.mail.delivery import Stage
from mta.mail.reply import Reply
from mta.observe.labels import Resource
from mta.queue import dispatcher, outcome
from mta.queue.active_queue import Job
from mta.store.postgres.errors import LeaseLost, StoreUnavailable
from mta.store.store import Store
from policy.base import Suppression
from tests.unit.mta.queue.rig import GREYLISTED, REFUSED, dispatching, route
from tests.unit.mta.store.make import NO_USER, OK, accepted, execute, leased, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "STORE_PAUSE", 0.01)


async def suppress(store: Store, address: str) -> None:
    await execute(
        store,
        "insert into suppression (address_key, account_id, address, reason, rule, evidence) "
        "values ($1, 1, $2, 'manual', 'operator', '')",
        store.suppressions._secrets.address_key(Address.parse(address)),
        address,
    )


# --- suppressed


async def test_who_was_suppressed_while_waiting_is_left_out(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        await suppress(store, "ann@example.net")
        both = await rig.submit("ann@example.net", "ben@example.net", checked_at=0.0)
        alone = await rig.submit("ann@example.net", checked_at=0.0)
        await rig.settled()
        assert rig.courier.attempts == [("ben@example.net",)]
        assert sorted(await rig.events(both)) == [("delivered", 1), ("failed", 0)]
        assert await rig.events(alone) == [("failed", 0)]
        assert await rig.queued() == 0


async def test_a_fresh_check_counts_until_somebody_is_suppressed(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        await suppress(store, "ann@example.net")
        await rig.submit("ann@example.net", checked_at=time.monotonic())
        await rig.settled()
        assert len(rig.courier.attempts) == 1
        before = time.monotonic()
        rig.dispatcher.suppressions_changed()
        await rig.submit("ann@example.net", checked_at=before)
        await rig.settled()
        assert len(rig.courier.attempts) == 1


async def test_nor_are_they_sent_when_trouble_follows_the_check(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check finds one, then the lease has run out: the next try must not take the first check for passed."""
    async with dispatching(store, takes=False) as rig:
        await suppress(store, "ann@example.net")
        checked, find, good = asyncio.Event(), store.suppressions.find, store.lease._until

        async def find_and_lose_the_lease(account_id: int, addresses: Sequence[Address]) -> list[Suppression]:
            found = await find(account_id, addresses)
            store.lease._until = 0.0
            checked.set()
            return found

        monkeypatch.setattr(store.suppressions, "find", find_and_lose_the_lease)
        rig.dispatcher.suppressions_changed()
        await rig.submit("ann@example.net", "ben@example.net", checked_at=0.0)
        async with asyncio.timeout(30):
            await checked.wait()
        await until(lambda: rig.dispatcher.ready_queues[PathKey("system", "example.net")].waiting)
        assert rig.courier.attempts == []
        monkeypatch.setattr(store.suppressions, "find", find)
        store.lease._until = good
        await rig.settled()
        assert rig.courier.attempts == [("ben@example.net",)]


async def test_nothing_is_sent_unchecked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching(store) as rig:
        asked = asyncio.Semaphore(0)

        async def away(*_: object) -> None:
            asked.release()
            raise StoreUnavailable("away")

        find = store.suppressions.find
        monkeypatch.setattr(store.suppressions, "find", away)
        await rig.queue("ann@example.net")
        async with asyncio.timeout(30):
            for _ in range(3):
                await asked.acquire()
        assert rig.courier.attempts == []
        assert rig.active_queue.deliveries == 1
        monkeypatch.setattr(store.suppressions, "find", find)
        await until(lambda: rig.courier.attempts)
        await rig.settled()


# --- leases


async def test_a_lease_that_has_run_out_may_live_again(store: Store) -> None:
    """The database was away for longer than the lease is good for; nobody else took anything."""
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=1)
        await rig.submit("ann@example.net")
        await until(lambda: rig.courier.running == 1)
        for n in range(3):
            await rig.submit(f"ben{n}@example.net")
        store.lease._until = 0.0
        rig.courier.let(4)
        await until(lambda: rig.courier.running == 0)
        await until(lambda: rig.taken("example.net") > 3)  # they were looked at, and kept
        assert len(rig.courier.attempts) == 1
        await store.lease.renew()
        await rig.settled()
        assert len(rig.courier.attempts) == 4
        assert await rig.queued() == 0


async def test_what_is_put_off_under_a_lease_that_has_run_out_goes_back(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        rig.resolver.routes["example.net"] = route(backoff="10m", backoff_after=1)
        await rig.submit("ann@example.net")
        await rig.settled()
        (delivery,) = leased(await store.messages.enqueue(accepted("ben@example.net"), leased=True))
        job = Job(delivery, rig.active_queue.reserve(delivery.size, delivery.stream))
        store.lease._until = 0.0
        rig.dispatcher.submit([job])
        await rig.settled()
        assert await rig.queued("lease is null") == 2


async def test_what_was_held_under_a_lost_lease_is_dropped(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=1)
        await rig.submit("ann@example.net")
        await until(lambda: rig.courier.running == 1)
        for n in range(3):
            await rig.submit(f"ben{n}@example.net")
        await execute(store, "delete from worker")
        await execute(store, "update queue set lease = null")
        with pytest.raises(LeaseLost):
            await store.lease.renew()
        rig.dispatcher.forget()
        await store.lease.register()
        assert rig.active_queue.deliveries == 1
        rig.courier.let(1)
        await rig.settled()
        assert len(rig.courier.attempts) == 1
        assert await rig.queued() == 4  # the result of the first is fenced: all four are others' now


# --- the store refuses, or is away


async def test_returned_deliveries_wait_for_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.observe.background.FIRST_PAUSE", 0.01)
    async with dispatching(store, takes=False) as rig:
        tries, give_back = asyncio.Semaphore(0), store.messages.requeue

        async def away(*_: object) -> None:
            tries.release()
            raise StoreUnavailable("away")

        monkeypatch.setattr(store.messages, "requeue", away)
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=1)
        for n in range(4):
            await rig.submit(f"r{n}@example.net")
        await until(lambda: rig.courier.running == 1)
        rig.dispatcher.queue_changed()
        async with asyncio.timeout(30):
            for _ in range(3):
                await tries.acquire()
        assert rig.active_queue.deliveries == 4
        monkeypatch.setattr(store.messages, "requeue", give_back)
        await until(lambda: rig.active_queue.deliveries == 1)
        assert await rig.queued("lease is null and due_at <= now()") == 3


async def test_a_message_that_cannot_be_read_is_an_attempt(store: Store) -> None:
    """Not a loop: it is tried again later, explained, and in the end it expires."""
    unreadable = accepted("ann@example.net")
    await store.messages.enqueue(unreadable, leased=False)
    await execute(store, "delete from content")
    message = unreadable.message.id
    async with dispatching(store) as rig:
        await until(lambda: rig.dispatcher.ready_queues)
        await rig.settled()
        assert await rig.events(message) == [("deferred", 0)]
        assert await rig.queued("attempts = 1 and due_at > now() + interval '1 minute'") == 1
        assert rig.courier.attempts == []


async def test_an_outcome_does_not_wait_for_a_dsn_that_cannot_quote(store: Store) -> None:
    unreadable = accepted("ann@example.net")
    await store.messages.enqueue(unreadable, leased=False)
    await execute(store, "delete from content")
    await execute(store, "update queue set bounce = 'enough'")
    async with dispatching(store, bounce_notifications="dsn") as rig:
        assert ("failed", 0) in await rig.until_event(unreadable.message.id)
        await until(lambda: ("shop@acme.example",) in rig.courier.attempts)


# --- bugs of our own


async def test_rules_that_break_cost_no_second_delivery(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.answer = lambda r: (
            (Stage.RECIPIENT, GREYLISTED) if r.index else (Stage.FINAL_DOT, Reply(250, None, ""))
        )
        monkeypatch.setattr(outcome, "decide", None)
        message = await rig.submit("ann@example.net", "ben@example.net")
        await rig.settled()
        assert sorted(await rig.events(message)) == [("deferred", 1), ("delivered", 0)]
        assert await rig.queued("recipient_index = 1 and lease is null") == 1


async def test_a_dsn_that_cannot_be_composed_costs_no_outcome(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching(store, takes=False, bounce_notifications="dsn") as rig:
        rig.courier.answer = lambda _: (Stage.RECIPIENT, NO_USER)
        monkeypatch.setattr(rig.dsn, "compose", None)
        message = await rig.submit("ann@example.net")
        await rig.settled()
        assert await rig.events(message) == [("failed", 0)]
        assert await rig.queued() == 0


async def test_an_outcome_that_the_store_refuses_for_good(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was delivered is not sent again; what was not goes back for later."""
    async with dispatching(store, takes=False) as rig:

        async def refuse(batch: Sequence[object]) -> list[Exception]:
            return [ValueError("no")] * len(batch)

        monkeypatch.setattr(store.results, "write", refuse)
        rig.courier.answer = lambda r: (Stage.RECIPIENT, GREYLISTED) if r.address.local == "ben" else (Stage.DATA, OK)
        await rig.submit("ann@example.net")
        await rig.submit("ben@example.net")
        await rig.settled()
        assert await rig.queued("address = 'ann@example.net' and lease is not null") == 1
        async with asyncio.timeout(30):
            while await rig.queued("address = 'ben@example.net' and lease is null and due_at > now()") != 1:  # noqa: ASYNC110 - it is the database that is waited for
                await asyncio.sleep(0.01)


async def test_an_attempt_that_breaks_is_tried_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dispatching(store, takes=False) as rig:
        monkeypatch.setattr(rig.courier, "deliver", None)
        message = await rig.submit("ann@example.net")
        await rig.settled()
        assert await rig.events(message) == [("deferred", 0)]
        assert await rig.queued("lease is null and attempts = 1") == 1


# --- the end


async def test_stop_gives_back_what_waits_and_ends_what_runs(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=1)
        first = await rig.submit("ann@example.net")
        await until(lambda: rig.courier.running == 1)
        for n in range(5):
            await rig.submit(f"ben{n}@example.net")
        stopping = asyncio.create_task(rig.dispatcher.stop(60))
        await until(lambda: rig.active_queue.deliveries == 1)
        assert not stopping.done()
        assert await rig.queued("lease is null") == 5
        rig.courier.let(1)
        async with asyncio.timeout(30):
            await stopping
        assert await rig.events(first) == [("delivered", 0)]
        assert rig.active_queue.deliveries == 0


async def test_stop_cuts_off_what_takes_too_long(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        await rig.submit("ann@example.net")
        await until(lambda: rig.courier.running == 1)
        async with asyncio.timeout(30):
            await rig.dispatcher.stop(0.01)
        assert rig.courier.running == 0
        await store.lease.release()
        assert await rig.queued("lease is null and attempts = 0") == 1


# --- short of something


async def test_what_this_machine_lacks_is_no_attempt_and_no_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "SHORTAGE_PAUSE", timedelta(0))
    async with dispatching(store) as rig:
        short = True

        def answer(_: object) -> tuple[Stage, Reply]:
            if short:
                raise Shortage(Resource.DESCRIPTORS)
            return Stage.FINAL_DOT, OK

        rig.courier.answer = answer
        message = await rig.submit("ann@example.net")
        await until(lambda: len(rig.courier.attempts) >= 2)
        assert await rig.queued("attempts = 0") == 1
        throttle = rig.dispatcher.ready_queues[PathKey("system", "example.net")].throttle
        assert throttle.site.failures == 0
        assert rig.metrics.shortages[Resource.DESCRIPTORS].value >= 1
        short = False
        assert await rig.until_event(message) == [("delivered", 0)]
        await rig.settled()


async def test_a_route_that_could_not_be_looked_up_for_lack_of_something_is_no_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "SHORTAGE_PAUSE", timedelta(0))
    async with dispatching(store) as rig:
        rig.resolver.routes["example.net"] = NotAsked(Resource.DESCRIPTORS)
        message = await rig.submit("ann@example.net")
        await until(lambda: rig.metrics.shortages[Resource.DESCRIPTORS].value >= 2)
        assert await rig.queued("attempts = 0") == 1
        rig.resolver.routes["example.net"] = route()
        assert await rig.until_event(message) == [("delivered", 0)]
        await rig.settled()


async def test_recipients_that_were_not_tried_wait_for_another_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "SHORTAGE_PAUSE", timedelta(0))
    async with dispatching(store) as rig:
        rig.courier.untried = 1
        message = await rig.submit("ann@example.net", "ben@example.net")
        await until(lambda: len(rig.courier.attempts) == 2)
        await rig.settled()
        assert await rig.events(message) == [("delivered", 0), ("delivered", 1)]
        assert rig.courier.attempts[1] == ("ben@example.net",)
        assert await rig.queued() == 0
