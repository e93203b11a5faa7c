"""A message to a trap address is counted for the breakers, and its client is told nothing."""

from __future__ import annotations

from tests.flow.harness import World
from tests.flow.permission import READER, shop

OTHER = "olga@example.com"


async def test_a_trap_is_counted_and_not_told(world: World) -> None:
    traps = world.directory / "traps.txt"
    traps.write_text(f"{READER}\n")
    async with shop(world, policy={"trap_addresses": str(traps)}) as opened:
        await opened.agree(OTHER)
        for reader in (READER, OTHER):
            sent = await opened.send(reader)
            assert str(sent.reply).startswith("250 2.0.0 OK: queued as ")
            assert reader not in str(sent.reply)
        counted = await world.db.fetchval("select sum(traps)::int from delivery_stats where mailing <> ''")
    assert counted == 1
