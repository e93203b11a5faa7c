"""The database goes away and comes back: clients are told to try again, no outcome is lost, and nobody has to help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest

from mta.store.postgres.embedded import EmbeddedPostgres
from mta.store.postgres.migrate import migrate
from mta.testing.script import ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.harness import PATIENCE, World, kinds, message, open_world

ANSWERED_WITHIN = 5.0  # seconds, for each command: what is promised


@pytest.fixture
async def world(tmp_path: Path, own_postgres: EmbeddedPostgres) -> AsyncIterator[World]:
    """The world upon a PostgreSQL that this test may stop and start."""
    url = await asyncio.to_thread(own_postgres.start)
    await migrate(url)
    async with open_world(tmp_path, url) as world:
        yield world


async def refusal(world: World) -> aiosmtplib.SMTPResponseException:
    """How a message is refused; every command is answered in time."""
    smtp = world.client()
    smtp.timeout = ANSWERED_WITHIN
    async with smtp:
        await smtp.ehlo()
        with pytest.raises(aiosmtplib.SMTPResponseException) as refused:  # noqa: PT012 - any of the three may meet it
            await smtp.mail("ann@sender.example")
            await smtp.rcpt("ann@example.com")
            await smtp.data(message())
    return refused.value


async def accepted_again(world: World) -> None:
    """Submit until a message is accepted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (await world.submit("ben@example.com")).id:
                    return
            except aiosmtplib.SMTPException:
                await asyncio.sleep(0.1)


async def test_try_again_later(world: World, own_postgres: EmbeddedPostgres) -> None:
    await world.start()
    await world.accept("ann@example.com")
    await world.received(1)
    await asyncio.to_thread(own_postgres.stop)
    refused = await refusal(world)
    assert refused.code == 451
    assert refused.message.startswith("4.3.0 ")

    async def told() -> None:
        while await asyncio.to_thread(world.service.is_ready):  # noqa: ASYNC110  a write that worked is remembered
            await asyncio.sleep(0.2)

    await world.patiently(told())

    await asyncio.to_thread(own_postgres.start)
    await accepted_again(world)
    assert [receipt.recipients[0].address for receipt in await world.received(2)] == [
        "ann@example.com",
        "ben@example.com",
    ]
    await asyncio.to_thread(world.service.wait_ready)


async def test_an_outcome_waits_for_the_database(world: World, own_postgres: EmbeddedPostgres) -> None:
    """The receiver says 250 while the database is away: delivered is delivered, once."""
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.END, "*", (ScriptedReply(wait=2),)),))
    await world.start()
    message_id = await world.accept("ann@example.com")
    await world.receiver.ledger.wait_until(lambda ledger: len(ledger.receipts) == 1)
    await asyncio.to_thread(own_postgres.stop)
    await world.received(1)

    await asyncio.to_thread(own_postgres.start)
    await world.connect()
    assert kinds(await world.until_ended(message_id)) == ["delivered"]
    await accepted_again(world)
    await world.received(2)
    assert len(world.receiver.ledger.receipts) == 2
