"""A site that cannot be reached is left alone by every worker; an operator's word reaches them all."""

from __future__ import annotations

import asyncio

from mta.mail.identity import format_id
from tests.flow.harness import World, kinds


async def test_retry_ends_the_backoffs_of_all_workers(world: World) -> None:
    """Nothing would move for an hour without it."""
    world.domain("dead.example", "127.0.0.99")
    await world.start(
        server={"workers": 2},
        queue={"retry_schedule": ["1h"]},
        shaping={"default": {"backoff": "1h", "backoff_after": 1}},
    )
    messages = []

    async def both_in_backoff() -> bool:
        messages.append(await world.accept("ann@dead.example"))
        return await world.db.fetchval("select count(*) from backoff") == 2

    await world.until(both_in_backoff)

    async def put_off() -> bool:
        return not await world.db.fetchval("select count(*) from queue where lease is not null")

    await world.until(put_off)
    told = await asyncio.to_thread(world.service.cli, "explain", format_id(messages[0]))
    assert "waits for system -> mx1.dead.example, in backoff until" in told
    assert "in 2 workers after 451 4.4.1 connect to mx1.dead.example" in told
    alive = await world.add_receiver("127.0.0.99")
    said = await asyncio.to_thread(world.service.cli, "queue", "retry", "--destination", "dead.example", "--yes")
    assert said == f"{len(messages)} recipients due now.\n2 backoffs ended.\n"
    await world.received(len(messages), alive.ledger)
    assert {kinds(await world.until_ended(message))[-1] for message in messages} == {"delivered"}
