"""The loop that asks for shares and gives them back: when it does, and when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mta.observe.background import BackgroundTasks
from mta.queue import limit_leasing
from mta.queue.limit_leasing import LimitLeasing, Starts
from mta.queue.path_limits import Permits
from mta.store.postgres.errors import LeaseLost, OutcomeUnknown, StoreUnavailable
from mta.store.queue.limit_shares import LimitAnswer, LimitKey, LimitRequest
from tests.unit.mta.store.make import until


class Lease:
    """A lease that is valid until the test says otherwise."""

    def __init__(self) -> None:
        self.id, self.valid, self.left = 1, True, 3600.0


class Shared:
    """Grants everything that is wanted; ``error``: what the next exchange raises instead."""

    def __init__(self) -> None:
        self.exchanges: list[Sequence[LimitRequest]] = []
        self.error: Exception | None = None

    async def exchange(self, requests: Sequence[LimitRequest]) -> Mapping[LimitKey, LimitAnswer]:
        await asyncio.sleep(0)
        self.exchanges.append(requests)
        if (error := self.error) is not None:
            self.error = None
            raise error
        return {each.key: LimitAnswer(each.wanted, each.wanted) for each in requests}


class World:
    def __init__(self) -> None:
        self.shared, self.lease, self.revoked = Shared(), Lease(), 0
        shared: Any = self.shared
        lease: Any = self.lease
        self.leasing = LimitLeasing(shared, lease, BackgroundTasks(), self.revoke)

    def revoke(self) -> None:
        self.revoked += 1

    def permits(self, scope: str, users: int = 2, starts: int = 0, *rates: str) -> Permits:
        found = self.leasing.permits(scope)
        found.limit(4, rates)
        found.needed = lambda _: (users, starts)
        return found

    def held(self, permits: Permits) -> int:
        assert permits.connections
        return permits.connections.held


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_leasing, "AWAY", 0.01)


async def test_many_scopes_share_an_exchange(world: World) -> None:
    scopes = [world.permits(f"s{n}") for n in range(20)]
    for permits in scopes:
        world.leasing.need(permits)
    await until(lambda: all(world.held(permits) == 3 for permits in scopes))
    assert len(world.shared.exchanges) <= 2
    await world.leasing.stop()


async def test_a_scope_has_one_set_of_permits_as_long_as_it_is_in_use(world: World) -> None:
    first = world.permits("s")
    assert world.leasing.permits("s") is first


async def test_nothing_runs_once_nothing_is_held(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mta.queue.path_limits.SPARE", 0.02)
    permits = world.permits("s")
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    permits.needed = lambda _: (0, 0)
    await until(
        lambda: world.held(permits) == 0 and world.leasing._running is not None and world.leasing._running.done()
    )
    assert world.shared.exchanges[-1] == [LimitRequest(LimitKey("s"), 4, 0, free=3)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), OutcomeUnknown("cut", 1), LeaseLost("others have it")])
async def test_a_store_that_is_away_is_asked_again(world: World, error: Exception) -> None:
    permits = world.permits("s")
    world.shared.error = error
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    assert len(world.shared.exchanges) >= 2
    await world.leasing.stop()


async def test_what_was_on_its_way_when_the_lease_was_lost_does_not_count(world: World) -> None:
    permits = world.permits("s")
    world.leasing.need(permits)
    await until(lambda: world.shared.exchanges)
    world.leasing.lose()
    await asyncio.sleep(0)
    assert world.held(permits) == 0
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    await world.leasing.stop()


async def test_a_lease_that_cannot_be_relied_on_closes_every_connection(world: World) -> None:
    world.lease.left = 0.0
    permits = world.permits("s")
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    assert world.revoked == 0
    world.lease.valid = False
    await until(lambda: world.revoked > 0)
    await world.leasing.stop()


async def test_a_call_is_answered_by_an_exchange(world: World) -> None:
    permits = world.permits("s")
    changed: list[None] = []
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    permits.changed = lambda: changed.append(None)
    for key in (LimitKey("s"), None):
        before = len(world.shared.exchanges)
        world.leasing.called(key)
        await until(lambda before=before: len(world.shared.exchanges) == before + 1)
    world.leasing.called(LimitKey("unknown"))
    assert len(changed) == 2
    await world.leasing.stop()


async def test_everything_is_given_back_at_the_end(world: World) -> None:
    permits = world.permits("s", 2, 5, "9/m")
    world.leasing.need(permits)
    await until(lambda: world.held(permits) == 3)
    permits.needed = lambda _: (0, 0)
    await world.leasing.stop()
    given = {request.key.seconds: request.free for request in world.shared.exchanges[-1]}
    assert given == {0: 3, 60: 5}


async def test_an_attempt_waits_for_its_second_start_but_not_for_long(world: World) -> None:
    permits = world.permits("s", 1, 2, "2/s")
    world.leasing.need(permits)
    await until(lambda: permits.startable(0) == 2)
    starts = Starts(permits, [])
    assert [await starts.next(), permits.startable(0)] == [True, 1]
    starts.started()
    assert await starts.next()
    starts.started()
    assert await starts.next(), "after a second"
    starts.close()
    long = world.permits("l", 1, 1, "1/h")
    world.leasing.need(long)
    await until(lambda: long.startable(0) == 1)
    starts = Starts(long, [])
    starts.started()
    assert not await starts.next()
    starts.close()
    await world.leasing.stop()
