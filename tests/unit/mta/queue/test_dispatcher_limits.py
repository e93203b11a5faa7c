"""How many at once: slow start, backoffs, rates, and sites that stand still."""

from __future__ import annotations

import asyncio

import pytest

from config.schema import QueueSettings
from mta.delivery.egress.paths import PathKey
from mta.mail.delivery import Stage
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.queue import path_limits
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from tests.unit.mta.queue.rig import REFUSED, Rig, dispatching, route, yes
from tests.unit.mta.store.make import until


async def crowd(rig: Rig, number: int, domain: str = "example.net") -> None:
    for n in range(number):
        await rig.submit(f"r{n}@{domain}")


async def test_each_success_lets_another_start_though_nothing_new_comes(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.courier.hold()
        rig.resolver.routes["example.net"] = route(connections=6, initial_connections=2)
        await crowd(rig, 30)
        for allowed in (2, 3, 4, 5, 6, 6):
            await until(lambda allowed=allowed: rig.courier.running == allowed)
            rig.courier.let(1)
        assert rig.courier.most == 6


async def test_a_site_that_cannot_be_reached_is_in_backoff_and_holds_nothing(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["example.net"] = route(connections=1, initial_connections=1, backoff="10m", backoff_after=3)
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        await crowd(rig, 10)
        await rig.settled()
        assert len(rig.courier.attempts) == 3
        assert await rig.queued("lease is null and attempts = 1") == 3
        assert await rig.queued("lease is null and attempts = 0 and due_at > now() + interval '9 minutes'") == 7

        await crowd(rig, 5)  # during the backoff
        await rig.settled()
        assert len(rig.courier.attempts) == 3
        assert await rig.queued("lease is null") == 15


async def test_what_waits_for_a_backoff_is_routed_anew_when_the_dns_answer_has_ended(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.ttl = 30.0
        rig.resolver.routes["example.net"] = route(connections=1, backoff="10m", backoff_after=1)
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        await crowd(rig, 5)
        await rig.settled()
        assert await rig.queued("attempts = 0 and due_at between now() and now() + interval '31 seconds'") == 4


async def test_a_domain_that_has_moved_does_not_wait_for_the_site_that_it_has_left(store: Store) -> None:
    """Neither what is due, nor what is deferred by the new site."""
    async with dispatching(store, retry_schedule=["10ms"]) as rig:
        dead = route("dead.example", backoff="10m", backoff_after=1)
        rig.resolver.routes.update(dict.fromkeys(("moved.example", "stays.example"), dead))
        rig.resolver.ttl = 0.0
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        await rig.queue("ann@moved.example")
        await rig.queue("ann@stays.example")
        await until(lambda: rig.dispatcher.ready_queues and rig.metrics.backoffs.value)
        rig.resolver.routes["moved.example"] = route("good.example")
        rig.courier.answer = yes
        await until(lambda: rig.courier.attempts.count(("ann@moved.example",)) >= 1)
        async with asyncio.timeout(20):
            while await rig.queued("destination = 'moved.example'"):
                pass
        assert await rig.queued("destination = 'stays.example'") == 1


async def test_a_site_that_limits_us_is_in_backoff(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["example.net"] = route(connections=4, backoff="10m", backoff_after=3)
        rig.courier.answer = lambda _: (Stage.FINAL_DOT, Reply(421, "4.7.28", "unusual rate of mail; slow down"))
        await crowd(rig, 30)
        await rig.settled()
        assert len(rig.courier.attempts) <= 6
        assert await rig.queued("attempts = 0 and lease is null") >= 24


async def test_an_operator_ends_a_backoff_in_every_worker(store: Store) -> None:
    async with dispatching(store) as rig:
        await store.listen("retry", rig.dispatcher.end_backoffs)
        rig.resolver.routes["example.net"] = route(backoff="10m", backoff_after=1)
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        await rig.submit("ann@example.net")
        async with asyncio.timeout(20):
            while not (found := await store.backoffs.list()):
                pass
        assert (found[0].site, found[0].reply) == ("example.net", str(REFUSED))
        await rig.settled()
        rig.courier.answer = yes
        await rig.queue("ben@example.net")
        await store.queue.retry(QueueFilter())
        assert await store.backoffs.end({"example.net"}) == 1
        async with asyncio.timeout(20):
            while await rig.queued():
                pass


async def test_a_ready_queue_starts_again_after_its_backoff(store: Store) -> None:
    async with dispatching(store, retry_schedule=["10ms"]) as rig:
        rig.resolver.routes["example.net"] = route(backoff="50ms", backoff_after=1)
        rig.courier.answer = lambda _: (Stage.CONNECT, REFUSED)
        await crowd(rig, 3)
        await until(lambda: rig.courier.attempts)
        rig.courier.answer = yes
        async with asyncio.timeout(20):
            while await rig.queued():
                pass
        await rig.settled()


async def test_a_rate_is_kept_and_does_not_delay_the_end(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["example.net"] = route(message_rates=["1/h"])
        await crowd(rig, 5)
        await until(lambda: len(rig.courier.attempts) == 1)
        async with asyncio.timeout(10):
            await rig.dispatcher.stop(3600)
        assert len(rig.courier.attempts) == 1
        assert await rig.queued("lease is null") == 4


async def test_a_reload_reaches_the_ready_queues_that_are_known(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["example.net"] = route(connections=20, initial_connections=10)
        await crowd(rig, 1)
        await rig.settled()
        rig.resolver.routes["example.net"] = route(connections=2)
        rig.courier.hold()
        await crowd(rig, 10)
        await until(lambda: rig.courier.running == 2)
        assert rig.dispatcher.ready_queues[PathKey("system", "example.net")].throttle.ceiling == 2
        rig.courier.let(10)
        await rig.settled()
        assert rig.courier.most == 2


async def test_a_smaller_active_queue_is_kept_too(store: Store) -> None:
    async with dispatching(store) as rig:
        settings = QueueSettings(active_deliveries=2, poll="20ms")
        rig.dispatcher.configure(
            settings, rig.settings.egress, rig.settings.shaping, rig.classifier, rig.dsn, rig.profiles
        )
        rig.courier.hold()
        for n in range(6):
            await rig.queue(f"ann@d{n}.example")
        await until(lambda: rig.courier.running == 2)
        assert rig.active_queue.deliveries == 2
        rig.courier.let(6)
        await until(lambda: len(rig.courier.attempts) == 6)


async def test_sites_that_stand_still_do_not_stop_the_others(store: Store) -> None:
    """Six tarpits have more waiting than the active queue holds; a healthy site's message still goes at once."""
    async with dispatching(store, active_deliveries=40) as rig:
        free = rig.courier.gate
        rig.courier.hold()
        stuck = rig.courier.gate
        for site in range(6):
            rig.resolver.routes[f"t{site}.example"] = route(f"t{site}.example", connections=1, initial_connections=1)
            for n in range(20):
                await rig.queue(f"r{n}@t{site}.example", mailing=f"t{site}")
        await until(lambda: rig.courier.running == 6)
        rig.courier.gate = free
        await rig.queue("ann@healthy.example", account_id=2)
        await until(lambda: ("ann@healthy.example",) in rig.courier.attempts)
        await until(lambda: rig.active_queue.free(Stream.TRANSACTIONAL) > 0)
        for _ in range(6):
            stuck.release()


async def test_what_waits_for_the_first_connections_of_a_slow_site_gets_all_of_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(path_limits, "SPARE", 1e6)  # nothing else calls the runners up
    async with dispatching(store, takes=False) as rig:
        rig.resolver.routes["example.net"] = route(connections=20, initial_connections=20)
        rig.courier.hold()
        await crowd(rig, 12)
        await until(lambda: rig.courier.running == 12)
        rig.courier.let(12)
        await rig.settled()
