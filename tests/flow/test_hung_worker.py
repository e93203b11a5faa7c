"""A worker that hangs: clients do not notice, and it is replaced."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.flow.harness import World, message

CLIENTS = 40
GREETED_WITHIN = 10.0  # seconds, on a busy machine; a worker that hangs would never do it


async def greeted(world: World) -> str:
    """Return the greeting of a new session."""
    async with asyncio.timeout(GREETED_WITHIN):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.service.port)
        line = (await reader.readline()).decode()
        writer.close()
        return line[:3]


async def test_nobody_waits_for_a_worker_that_hangs_and_it_is_replaced(world: World) -> None:
    await world.start(server={"workers": 2}, database={"timeout": "1s", "lease": "3s"})
    before = set(world.service.workers())
    victim = min(before)
    os.kill(victim, signal.SIGSTOP)
    try:
        assert await asyncio.gather(*(greeted(world) for _ in range(CLIENTS))) == ["220"] * CLIENTS
        for n in range(5):
            await world.accept(f"ann{n}@example.com", content=message(f"No {n}"))
        await world.received(5)

        async def replaced() -> bool:
            return len(after := set(world.service.workers())) == 2 and victim not in after

        await world.until(replaced)
    finally:
        if victim in world.service.workers():
            os.kill(victim, signal.SIGCONT)
    assert "child killed: it hangs" in world.service.output()
    assert before - {victim} <= set(world.service.workers())

    async def leased_by_the_living() -> bool:
        return await world.db.fetchval("select count(*) from worker") == 2

    await world.until(leased_by_the_living)
    await world.until(ready := lambda: asyncio.to_thread(world.service.is_ready))
    assert await ready()


@pytest.mark.nightly
async def test_the_only_worker_is_replaced_too_and_serves_who_waited(world: World) -> None:
    await world.start(server={"workers": 1}, database={"timeout": "900ms", "lease": "2s"})
    (victim,) = world.service.workers()
    os.kill(victim, signal.SIGSTOP)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.service.port)
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"220 ")
    writer.close()
    assert victim not in world.service.workers()
