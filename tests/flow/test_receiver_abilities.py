"""A receiver that cannot take a message as it is: it fails by name, and is not sent in vain."""

from __future__ import annotations

import pytest

from mta.testing.script import Script
from tests.flow.harness import World, kinds, message

pytestmark = pytest.mark.nightly

ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 52428800", "ENHANCEDSTATUSCODES")


def without(*names: str) -> Script:
    return Script(extensions=tuple(name for name in ALL if name not in names))


async def refused(world: World, *recipients: str, status: str, content: bytes, options: tuple[str, ...] = ()) -> None:
    """The message ends as failed with ``status``, and the receiver never saw its content."""
    message_id = await world.accept(*recipients, content=content, mail_options=options)
    events = await world.until_ended(message_id)
    assert kinds(events)[0] == "failed", events
    assert events[0].data["status"] == status
    assert world.receiver.ledger.receipts == []
    assert not [line for _, line in world.receiver.ledger.commands if line.startswith("DATA")]
    assert await world.suppressed() == {}


async def test_too_large(world: World) -> None:
    world.receiver.script = Script(extensions=("PIPELINING", "SIZE 1000"))
    await world.start()
    await refused(world, "ann@example.com", status="5.3.4", content=message(body="All work and no play.\r\n" * 100))


async def test_eight_bits(world: World) -> None:
    world.receiver.script = without("8BITMIME", "SMTPUTF8")
    await world.start()
    content = message(body="Grüße aus Köln\r\n")
    await refused(world, "ann@example.com", status="5.6.3", content=content, options=("BODY=8BITMIME",))


async def test_international_address(world: World) -> None:
    world.receiver.script = without("SMTPUTF8")
    await world.start()
    await refused(world, "änne@example.com", status="5.6.7", content=message(), options=("SMTPUTF8", "BODY=8BITMIME"))


async def test_they_are_used_where_offered(world: World) -> None:
    world.receiver.script = Script(extensions=ALL)
    await world.start()
    content = message(body="Grüße aus Köln\r\n")
    await world.accept("änne@example.com", content=content, mail_options=("SMTPUTF8", "BODY=8BITMIME"))
    [receipt] = await world.received(1)
    assert receipt.recipients[0].address == "änne@example.com"
    assert {"SMTPUTF8", "BODY=8BITMIME"} <= set(receipt.sender.parameters)
    assert receipt.content.endswith(content)
