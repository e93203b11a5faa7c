"""A source that warms up gets its share and no more; the rest leaves from the others of its pool."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from tests.flow.harness import World

SENT = 24


async def test_a_source_warms_up_beside_a_warm_one(world: World) -> None:
    for name in ("gmail", "yahoo"):
        world.domain(f"{name}.example", "127.0.0.2")
    await world.start(
        server={"workers": 2},
        egress={
            "sources": [{"name": "old", "address": "127.0.1.1"}, {"name": "new", "address": "127.0.1.2"}],
        },
        shaping={
            "providers": [{"name": name, "domains": [f"{name}.example"]} for name in ("gmail", "yahoo")],
            "curves": [{"name": "slow", "daily": [8, 16]}],
            "warmup": [
                {"source": "new", "provider": "gmail", "curve": "slow"},
                {"pool": "default", "provider": "yahoo", "curve": "slow"},
            ],
        },
    )
    sources: Counter[str] = Counter()
    for n in range(0, SENT, 6):
        messages = [await world.accept(f"r{n + m}@gmail.example") for m in range(6)]
        for message in messages:
            (event,) = await world.until_event(message, "delivered")
            sources[event.data["source"]] += 1
    assert sources.total() == SENT
    assert 1 <= sources["127.0.1.2"] <= 8
    elsewhere = {
        event.data["source"]
        for event in [
            (await world.until_event(await world.accept("ann@example.com"), "delivered"))[0] for _ in range(4)
        ]
    }
    assert elsewhere == {"127.0.1.1", "127.0.1.2"}  # no plan there

    told = json.loads(await asyncio.to_thread(world.service.cli, "warmup", "--json"))
    (row,) = [each for each in told if each["provider"] == "gmail"]
    assert (row["day"], row["planned"], row["state"]) == (1, 8, "warming up")

    await world.accept(*(f"r{n}@yahoo.example" for n in range(9)))  # more than a day allows, and no source is warm
    waiting = "select count(*) from queue where delayed_by = 'warmup' and due_at > now() and lease is null"
    await world.until(lambda: _is(world, waiting, 9))

    await asyncio.to_thread(world.service.stop)
    day = await world.db.fetchrow("select used, good, bad from warmup_day where provider = 'gmail'")
    assert tuple(day) == (sources["127.0.1.2"], sources["127.0.1.2"], 0)


async def _is(world: World, question: str, expected: int) -> bool:
    return await world.db.fetchval(question) == expected
