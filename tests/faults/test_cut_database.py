"""The connection to the database is cut, torn, half-closed, stalled or slow at every message of every store call.

Whatever happens, a call is answered in time, with its result or StoreUnavailable; and afterwards the same store works:
it claims, it renews its lease, it hears of changes, no background task has ended, no connection is lost, and nothing
that was queued is gone.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from mta.store.postgres.secrets import Secrets
from tests.faults.proxy import DatabaseProxy, Direction, FaultKind, PlannedFault
from tests.faults.recovery import Subject, subject
from tests.faults.store_calls import CALLS

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

MOST = 200  # messages of one call
EVERY_MESSAGE = int(os.environ.get("CRASH_SEEDS", "2")) > 2  # otherwise a sample of them


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[DatabaseProxy]:
    proxy = DatabaseProxy(database_url)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def behind_proxy(proxy: DatabaseProxy, database_url: str, secrets: Secrets) -> AsyncIterator[Subject]:
    async with subject(proxy.dsn, database_url, secrets) as made:
        yield made


def numbers(name: str, kind: FaultKind, direction: Direction) -> Iterator[int]:
    """Which messages of a call are struck: all, or the first and a few that the names choose."""
    chance = random.Random(f"{name} {kind} {direction}")
    number = 1
    while number < MOST:
        yield number
        number += 1 if EVERY_MESSAGE else chance.randint(3, 9)


def kinds() -> list[FaultKind]:
    """A stall costs a deadline each time: left out of the sample."""
    return [kind for kind in FaultKind if EVERY_MESSAGE or kind is not FaultKind.STALL]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.value)
@pytest.mark.parametrize("name", CALLS)
async def test_every_message_of_every_call(
    proxy: DatabaseProxy, behind_proxy: Subject, name: str, kind: FaultKind
) -> None:
    strikes = 0
    for direction in Direction:
        for number in numbers(name, kind, direction):
            arm = functools.partial(proxy.arm, PlannedFault(kind, direction, number))
            done, struck = await behind_proxy.strike(name, arm, proxy.disarm)
            assert done or not kind.is_harmless, "a delay is no failure"
            if not struck:
                break
            strikes += 1
    assert strikes
