"""A service that may open few files: slow sites do not use them up, and clients are told instead of kept waiting."""

from __future__ import annotations

import asyncio
import re
import time

import aiosmtplib

from mta.testing.script import ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.harness import World, message

OPEN_FILES = 600
TARPITS = 60
EACH = 10  # messages for each tarpit, and connections that it may have
HEALTHY = 200


async def submit_all(world: World, mails: list[list[str]]) -> None:
    """Hand in messages over one connection; ``mails``: the recipients of each."""
    async with world.client() as smtp:
        await smtp.ehlo()
        for n, recipients in enumerate(mails):
            await smtp.sendmail("ann@sender.example", recipients, message(f"No {n}"))


async def test_slow_sites_do_not_use_up_the_connections(world: World) -> None:
    tarpit = await world.add_receiver(
        "127.0.0.4", Script(rules=(ScriptRule(ReceiverStage.CONNECT, "*", (ScriptedReply(wait=3600),)),))
    )
    for n in range(TARPITS):
        world.domain(f"tarpit{n}.example", "127.0.0.4")
    world.service.open_files = OPEN_FILES
    await world.start(
        server={"shutdown_grace": "200ms"},
        egress={"timeouts": {"greeting": "10m"}},
        shaping={"default": {"connections": EACH, "initial_connections": EACH}},
    )
    stuck = [[f"ann{n}@tarpit{k}.example" for k in range(TARPITS)] for n in range(EACH)]
    await submit_all(world, stuck)
    await tarpit.ledger.wait_until(lambda ledger: ledger.open > TARPITS)
    began = time.monotonic()
    await submit_all(world, [[f"ben{n}@example.com"] for n in range(HEALTHY)])
    await world.received(HEALTHY)
    assert time.monotonic() - began < 20  # the tarpits hold on for minutes
    assert tarpit.ledger.receipts == []
    assert TARPITS <= tarpit.ledger.open < OPEN_FILES / 2
    assert await world.db.fetchval("select count(*) from queue where attempts > 0") == 0
    assert await world.db.fetchval("select count(*) from event where kind = 'deferred'") == 0
    assert not re.search("Too many open files|short of a resource|Traceback", world.service.output())


async def test_clients_beyond_the_descriptors_are_told_and_nothing_breaks(world: World) -> None:
    world.service.open_files = OPEN_FILES
    await world.start(submission={"limits": {"connections_per_address": 5000}})
    sessions = [await asyncio.open_connection("127.0.0.1", world.service.port) for _ in range(OPEN_FILES)]
    try:
        greetings = [(await reader.readline()).decode()[:3] for reader, _ in sessions]
        assert set(greetings) == {"220", "421"}
        assert greetings.count("220") < OPEN_FILES / 2
        assert "421" not in greetings[: greetings.count("220")], "only those beyond the limit are turned away"
    finally:
        for _, writer in sessions:
            writer.close()

    async def welcome() -> bool:
        try:
            await world.accept("ann@example.com")
        except aiosmtplib.SMTPException:
            return False
        return True

    await world.until(welcome)
    await world.received(1)
    assert not re.search("Too many open files|Traceback", world.service.output())
