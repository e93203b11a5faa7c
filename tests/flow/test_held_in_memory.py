"""An operator holds what a worker has in memory already: what has not begun is not sent."""

from __future__ import annotations

import asyncio

import pytest

from mta.testing.script import ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.harness import World, message

pytestmark = pytest.mark.nightly


async def test_hold_reaches_the_window(world: World) -> None:
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.END, "*", (ScriptedReply(wait=2),)),))
    await world.start(shaping={"default": {"connections": 1, "initial_connections": 1}})
    first = await world.accept("ann@example.com", content=message("First"))
    for n in range(5):
        await world.accept(f"ben{n}@example.com", content=message(f"Waiting {n}"))
    await world.receiver.ledger.wait_until(lambda ledger: any("DATA" in line for _, line in ledger.commands))

    await asyncio.to_thread(world.service.cli, "queue", "hold", "--yes", "--destination", "example.com")
    world.receiver.script = Script()
    await world.until_ended(first)

    async def given_back() -> bool:
        held = await world.db.fetchval("select count(*) from queue where holds > 0 and lease is null")
        return bool(held == 5)

    await world.until(given_back)
    assert len(world.taken) == 1

    await asyncio.to_thread(world.service.cli, "queue", "release", "--yes", "--destination", "example.com")
    await world.received(6)
