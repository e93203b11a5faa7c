"""A limit is a limit: connections and rates over two workers, two instances, and their deaths."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosmtplib
import pytest

from bench.service import Service
from tests.flow.counting_receiver import CountingReceiver, counting
from tests.flow.harness import SENDER, World, message, open_directory
from tests.warm_service import WarmService

FAR = "127.0.0.9"
TIGHT = {
    "connections": 4,
    "initial_connections": 4,
    "message_rates": ["10/s", "100/m"],
    "idle": "1s",
    "backoff": "300ms",
    "tls": "none",
}


@asynccontextmanager
async def two_instances(
    world: World, longest: float, **default: object
) -> AsyncIterator[tuple[Service, CountingReceiver]]:
    """The world's service and another one on the same database, with two workers each; a receiver that counts."""
    world.domain("counted.example", FAR)
    with open_directory() as directory, counting(FAR, world.receiver_port, longest) as receiver:
        await world.start(server={"workers": 2}, shaping={"default": TIGHT | default})
        other = WarmService(directory, world.service.settings)
        other.data.mkdir()
        shutil.copy2(world.service.data / "secret", other.data / "secret")
        shutil.chown(other.data / "secret", os.getuid())
        await asyncio.to_thread(other.start)
        try:
            yield other, receiver
        finally:
            await asyncio.to_thread(other.stop)


async def submit(service: Service, names: list[str]) -> None:
    """Hand in a message for each name, in one session."""
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=service.port, start_tls=False, timeout=30) as smtp:
        for n, name in enumerate(names):
            await smtp.sendmail(SENDER, [f"ann{n}@counted.example"], message(name))


async def taken(world: World, receiver: CountingReceiver, number: int, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while len(receiver.taken) < number:  # noqa: ASYNC110 - it runs on threads
            await asyncio.sleep(0.05)


def assert_kept(receiver: CountingReceiver) -> None:
    assert receiver.most_open <= 4
    assert receiver.most_begun_within(1.0) <= 10
    assert receiver.most_begun_within(60.0) <= 100


async def test_limits_hold_over_workers_and_instances_that_die(world: World) -> None:
    async with two_instances(world, longest=0.2) as (other, receiver):
        await asyncio.gather(
            submit(world.service, [f"a{n}" for n in range(60)]), submit(other, [f"b{n}" for n in range(60)])
        )
        await taken(world, receiver, 15)
        os.kill(world.service.workers()[0], signal.SIGKILL)
        await taken(world, receiver, 30)
        await asyncio.to_thread(other.kill_everything)
        await taken(world, receiver, 60)
        assert_kept(receiver)
        assert receiver.most_open >= 2
        assert receiver.most_begun_within(1.0) >= 5


@pytest.mark.nightly
async def test_limits_hold_for_a_long_time_of_mixed_load_and_deaths(world: World) -> None:
    """Ten minutes, each of which has its worker killed; the other instance is killed and started again."""
    chance = random.Random(7)
    async with two_instances(world, longest=1.0) as (other, receiver):
        sent: list[str] = []
        for minute in range(10):
            for service, letter in ((world.service, "a"), (other, "b")):
                names = [f"{letter}{minute}.{n}" for n in range(chance.randrange(20, 60))]
                await submit(service, names)
                sent += names
            await asyncio.sleep(chance.uniform(5, 25))
            workers = chance.choice([world.service, other]).workers()
            os.kill(chance.choice(workers), signal.SIGKILL)
            if minute in (3, 7):
                await asyncio.to_thread(other.kill_everything)
                await asyncio.sleep(chance.uniform(1, 10))
                await asyncio.to_thread(other.start)
            await asyncio.sleep(30)
            assert_kept(receiver)
        await taken(world, receiver, len(sent), 900)
        assert_kept(receiver)
        assert set(receiver.taken) == set(sent)
        assert receiver.most_begun_within(60.0) >= 80, "and they are used"
