"""Leases: who may deliver, who is dead, and what a dead worker's rows come to."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.store.postgres.errors import LeaseLost, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue import lease
from mta.store.queue.lease import Lease, Process
from mta.store.store import Store
from tests.faults.clocks import clock_set
from tests.unit.mta.store import make


@pytest.fixture
async def reaper(database_url: str, secrets: Secrets):  # type: ignore[no-untyped-def]
    """The store of a supervisor."""
    store = await Store.open(database_url, DatabaseSettings(), secrets)
    yield store
    await store.close()


async def in_touch_for_long(lease: Lease) -> None:
    """Have it watched all leases for longer than they last."""
    await lease.reap()
    pass_time(lease)


def pass_time(lease: Lease, seconds: float = 1000) -> None:
    """As if everything it has seen were so much longer ago."""
    lease._seen = {each: (count, since - seconds) for each, (count, since) in lease._seen.items()}


async def elsewhere(store: Store) -> None:
    """Make the store's worker one of another machine, so that only time can tell whether it is dead."""
    await make.execute(store, "update worker set pid_scope = 'another machine' where id = $1", store.lease.id)


async def test_a_lease_is_valid_from_its_registration_to_its_release(store: Store) -> None:
    lease = store.lease
    assert lease.valid
    assert lease.id > 0
    await lease.renew()
    delivery = await make.put(store)
    await lease.release()
    assert not lease.valid
    assert lease.id == 0
    (queued,) = await store.queue.show(delivery.message_id)
    assert queued.state.value == "ready"
    assert await make.count(store, "worker") == 0


async def test_it_is_relied_on_only_for_a_part_of_its_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    await store.lease.renew()
    monkeypatch.setattr(time, "monotonic", lambda: began + 23)
    assert store.lease.valid
    monkeypatch.setattr(time, "monotonic", lambda: began + 25)
    assert not store.lease.valid


async def test_a_live_worker_is_not_reaped(store: Store, reaper: Store) -> None:
    await make.put(store)
    await elsewhere(store)
    await in_touch_for_long(reaper.lease)
    await store.lease.renew()
    assert await reaper.lease.reap() == 0
    await store.lease.renew()


async def test_a_silent_worker_is_reaped_and_learns_of_it(store: Store, reaper: Store) -> None:
    await make.put(store, "a@example.net", "b@example.net")
    await elsewhere(store)
    await in_touch_for_long(reaper.lease)
    assert await reaper.lease.reap() == 2
    assert await make.count(store, "queue where lease is null") == 2
    with pytest.raises(LeaseLost):
        await store.lease.renew()
    assert not store.lease.valid
    await store.lease.register()
    assert store.lease.valid
    assert len(await store.messages.claim(deliveries=10, octets=10**6)) == 1


@pytest.mark.parametrize("days", [6, -2])
async def test_no_clock_on_a_wall_ends_a_lease(store: Store, reaper: Store, days: int) -> None:
    """The database's clock is set while workers are alive."""
    await make.put(store)
    await elsewhere(store)
    await reaper.lease.reap()
    async with clock_set(reaper, timedelta(days=days)):
        assert await reaper.lease.reap() == 0
    await store.lease.renew()


async def test_nobody_is_reaped_by_one_who_has_just_come_back_itself(store: Store, reaper: Store) -> None:
    await elsewhere(store)
    fresh = Lease(reaper._database, 30)
    assert await fresh.reap() == 0
    pass_time(fresh)
    fresh._touched -= 31  # a gap: for as long as a lease the database was out of reach
    assert await fresh.reap() == 0
    assert await make.count(store, "worker") == 1


async def test_a_failed_reap_begins_the_watch_anew(store: Store, reaper: Store) -> None:
    await elsewhere(store)
    database, lease = reaper._database, Lease(reaper._database, 30)
    await in_touch_for_long(lease)
    dsn, database._dsn = database._dsn, "postgresql://nobody@/none?host=/nowhere"
    database._pool._idle.clear()
    with pytest.raises(StoreUnavailable):
        await lease.reap()
    database._dsn = dsn
    assert await lease.reap() == 0
    assert await make.count(store, "worker") == 1


async def test_a_worker_of_this_machine_that_is_gone_need_not_be_waited_for(store: Store) -> None:
    await make.put(store)
    gone = 2**22 + 1  # beyond the largest process id there can be
    await make.execute(store, "update worker set pid = $1", gone)
    assert await Lease(store._database, 30).reap() == 1
    assert await make.count(store, "queue where lease is null") == 1


async def test_rows_of_a_lease_that_exists_no_more_come_back(store: Store) -> None:
    await make.put(store)
    await make.execute(store, "update queue set lease = 12345")
    assert await Lease(store._database, 30).reap() == 1


class TestProcesses:
    def test_this_process_lives(self) -> None:
        me = lease.this_process()
        assert me.start_ticks > 0
        assert not lease.is_dead(me)

    def test_an_id_that_was_used_again_is_another_process(self) -> None:
        me = lease.this_process()
        assert lease.is_dead(Process(me.pid_scope, me.pid, me.start_ticks - 1))

    def test_a_process_that_has_ended_is_dead_even_before_it_is_waited_for(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
        started = lease._started(child.pid)
        assert started
        process = Process(lease.this_process().pid_scope, child.pid, started)
        while not lease.is_dead(process):
            pass
        child.wait()
        assert lease.is_dead(process)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a moment")
    def test_of_what_proc_does_not_show_nothing_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with hidepid=2, where two services of different users share a machine and a database."""
        me = lease.this_process()
        monkeypatch.setattr(lease, "_started", lambda _: None)
        assert lease.is_dead(me)
        with subprocess.Popen(["sleep", "60"], user=65533) as other:
            os.seteuid(65534)
            try:
                assert not lease.is_dead(Process(me.pid_scope, other.pid, 1))
            finally:
                os.seteuid(0)
                other.kill()

    def test_of_other_places_nothing_is_known(self) -> None:
        assert not lease.is_dead(Process("another boot", 2**22 + 1, 1))
        assert not lease.is_dead(Process("", 2**22 + 1, 1))
