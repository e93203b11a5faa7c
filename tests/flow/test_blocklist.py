"""A source that is on a blocklist rests, and comes back when it is on none."""

from __future__ import annotations

import pytest

from mta.testing.nameserver import Node
from tests.flow.harness import World

pytestmark = pytest.mark.nightly

SOURCES = ["127.0.0.11", "127.0.0.12"]
OURS = "11.0.0.127.zen.example"
LISTS = {
    "every": "0s",
    "confirm_after": "0s",
    "lists": [{"name": "zen", "zone": "zen.example"}],
}


async def sources(world: World, count: int) -> set[str]:
    """Those of the next ``count`` messages, each over a connection of its own."""
    found = set()
    for _ in range(count):
        (event,) = await world.until_event(await world.accept("ann@example.com"), "delivered")
        found.add(event.data["source"])
    return found


async def test_a_listed_source_rests_until_it_is_delisted(world: World) -> None:
    listed = Node(a=("127.0.0.2",), txt=("sends spam",), ttl=0)
    world.zone["2.0.0.127.zen.example"] = listed
    await world.start(
        egress={"sources": [{"name": f"ip{n}", "address": address} for n, address in enumerate(SOURCES)]},
        dns={"min_ttl": "0s", "max_ttl": "0s"},
        blocklists=LISTS,
        shaping={"default": {"messages_per_connection": 1}},
    )
    assert await sources(world, 4) == set(SOURCES)

    world.zone[OURS] = listed

    async def confirmed() -> bool:
        return bool(await world.db.fetchval("select count(*) from event where kind = 'blocklisted'"))

    await world.until(confirmed)
    await sources(world, 1)  # what was on its way when the listing was confirmed
    assert await sources(world, 4) == {SOURCES[1]}

    del world.zone[OURS]

    async def ended() -> bool:
        return bool(await world.db.fetchval("select count(*) from event where kind = 'delisted'"))

    await world.until(ended)
    await sources(world, 1)
    assert await sources(world, 4) == set(SOURCES)
