"""A message for two people at one domain, from the client's 250 to the receiver's, and what remains of it."""

from __future__ import annotations

from tests.flow.harness import World, kinds, message


async def test_one_transaction_and_nothing_left(world: World) -> None:
    await world.start()
    sent = message("Two of you")
    message_id = await world.accept("ann@example.com", "ben@example.com", content=sent)
    [receipt] = await world.received(1)
    events = await world.until_ended(message_id)

    assert receipt.sender.address == "ann@sender.example"
    assert [recipient.address for recipient in receipt.recipients] == ["ann@example.com", "ben@example.com"]
    assert receipt.hello == "mta.sender.example"
    assert receipt.content.endswith(sent)
    ours = receipt.content[: -len(sent)]
    assert ours.startswith(b"Received: from ")
    assert b"for <" not in ours  # two recipients: neither is told of the other
    assert kinds(events) == ["delivered", "delivered"]
    assert {event.recipient_index for event in events} == {0, 1}
    assert await world.db.fetchval("select count(*) from content_kept") == 0


async def test_one_connection_serves_many_messages(world: World) -> None:
    await world.start(shaping={"default": {"initial_connections": 1, "connections": 1}})
    ids = [await world.accept("ann@example.com", content=message(f"No. {n}")) for n in range(5)]
    await world.received(5)
    for message_id in ids:
        assert kinds(await world.until_ended(message_id)) == ["delivered"]
    assert world.receiver.ledger.connections == 1
