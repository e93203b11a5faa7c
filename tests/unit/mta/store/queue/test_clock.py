"""Which clock is trusted, and what becomes of the queue's times when the database's is set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mta.observe.metrics import Metrics
from mta.store.queue.clock import TRUSTED_AFTER, Clock, ClockSample, ClockWatch
from mta.store.store import Store
from tests.faults.clocks import clock_set
from tests.unit.mta.store import make

DAY = 86_400.0
EXPIRE_AFTER = 5 * DAY


def watching(*samples: tuple[float, float, float]) -> ClockWatch:
    watch = ClockWatch()
    for sample in samples:
        watch.observe(ClockSample(*sample))
    return watch


def test_clocks_that_agree_are_trusted() -> None:
    assert watching((0, 1000, 1001), (5, 1005, 1006.5), (100, 1100, 1102)).fault is None


@pytest.mark.parametrize("step", [6 * DAY, -2 * DAY, 60, -60])
def test_a_step_of_the_database_is_seen(step: float) -> None:
    watch = watching((0, 1000, 1000), (5, 1005, 1005 + step))
    assert watch.fault
    assert (watch.fault.reason, watch.fault.seconds) == ("the database's clock was set", step)
    assert watch.database_step == step


@pytest.mark.parametrize("step", [6 * DAY, -2 * DAY])
def test_a_step_of_both_is_seen(step: float) -> None:
    """One machine: both clocks are the same, and agree again at once."""
    assert watching((0, 1000, 1000), (5, 1005 + step, 1005 + step)).fault


def test_a_clock_that_differs_is_not_trusted_from_the_start() -> None:
    watch = watching((0, 1000, 1000 + DAY))
    assert watch.fault
    assert (watch.fault.reason, watch.fault.seconds) == ("this machine's clock differs from the database's", -DAY)


def test_trust_returns_after_a_while_of_agreement() -> None:
    watch = watching((0, 1000, 1000), (5, 1005, 1005 + DAY), (10, 1010 + DAY, 1010 + DAY))
    moment = 10.0
    while moment < TRUSTED_AFTER:
        moment += 60
        watch.observe(ClockSample(moment, 1000 + DAY + moment, 1000 + DAY + moment))
        assert (watch.fault is None) is (moment - 10 >= TRUSTED_AFTER)


def test_a_machine_that_slept_is_a_step() -> None:
    """Its monotonic clock stood still."""
    assert watching((0, 1000, 1000), (5, 1000 + DAY, 1000 + DAY)).fault


class Hands:
    """This machine's clocks, to be set."""

    def __init__(self) -> None:
        self.wall, self.monotonic = make.now().timestamp(), 1000.0

    def read(self) -> tuple[float, float]:
        return self.wall, self.monotonic


async def test_a_step_of_this_machine_is_noticed_without_asking(store: Store) -> None:
    hands, metrics = Hands(), Metrics()
    clock = Clock(store._database, metrics, hands.read)
    await clock.check()
    assert clock.fault is None
    hands.wall += 6 * DAY
    assert clock.fault
    assert metrics.expiry_suspended.value == 1
    await clock.check()
    assert metrics.clock_offset.value == pytest.approx(6 * DAY, abs=60)


async def waits(store: Store) -> tuple[float, float]:
    """Seconds until the only recipient is due, and until it expires, by the database's clock."""
    row = await make.row(
        store,
        "select extract(epoch from due_at - now())::float8 as due, extract(epoch from expires_at - now())::float8 as"
        " ends from queue",
    )
    return round(row["due"], -1), round(row["ends"], -2)


@pytest.mark.parametrize("days", [6, -2])
async def test_what_waits_goes_on_waiting_for_as_long(store: Store, days: int) -> None:
    delivery = await make.put(store, hours=120)
    await store.messages.requeue([delivery], timedelta(minutes=10))
    await store.clock.repair(EXPIRE_AFTER)
    assert await waits(store) == (600, EXPIRE_AFTER)
    async with clock_set(store, timedelta(days=days)):
        assert (await waits(store))[0] == 600 - days * DAY
        for _ in range(3):  # once only
            await store.clock.repair(EXPIRE_AFTER)
        assert await waits(store) == (600, EXPIRE_AFTER)
        assert store.clock.fault
    await store.clock.repair(EXPIRE_AFTER)
    assert await waits(store) == (600, EXPIRE_AFTER)


async def test_many_services_move_the_times_once(store: Store) -> None:
    delivery = await make.put(store, hours=120)
    await store.messages.requeue([delivery], timedelta(minutes=10))
    clocks = [Clock(store._database, None) for _ in range(3)]
    for clock in clocks:
        await clock.repair(EXPIRE_AFTER)
    async with clock_set(store, timedelta(days=6)):
        for clock in clocks:
            await clock.repair(EXPIRE_AFTER)
        assert await waits(store) == (600, EXPIRE_AFTER)


async def test_a_clock_set_back_while_nothing_ran_is_seen_at_the_start(store: Store) -> None:
    delivery = await make.put(store, hours=120)
    await store.messages.requeue([delivery], timedelta(minutes=10))
    await store.clock.repair(EXPIRE_AFTER)
    async with clock_set(store, timedelta(days=-2)):
        await Clock(store._database, None).repair(EXPIRE_AFTER)
        assert await waits(store) == (600, EXPIRE_AFTER)


async def test_what_is_written_after_the_step_is_not_moved(store: Store) -> None:
    await store.clock.repair(EXPIRE_AFTER)
    async with clock_set(store, timedelta(days=6)):
        delivery = await make.put(store, hours=120)
        await store.messages.requeue([delivery], timedelta(minutes=10))
        await store.clock.repair(EXPIRE_AFTER)
        assert await waits(store) == (600, EXPIRE_AFTER)


async def test_held_mail_does_not_expire_while_expiry_is_suspended(store: Store) -> None:
    await store.messages.enqueue(make.accepted(hours=-1, hold=make.hold("a look")), leased=False)
    assert await store.messages.claim(deliveries=10, octets=10**6, expiry=False) == []
    (expired,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert expired.held
