"""A receiver that has no time now gets the message later, once."""

from __future__ import annotations

from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds, message


async def test_deferred_then_delivered(world: World) -> None:
    refusals = (say("451 4.3.0 try again later"), say("452 4.2.2 mailbox full"), FRIENDLY)
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", refusals),))
    await world.start()
    sent = message()
    message_id = await world.accept("ann@example.com", content=sent)
    await world.received(1)
    events = await world.until_ended(message_id)

    assert kinds(events) == ["deferred", "deferred", "delivered"]
    first = events[0].data
    assert (first["code"], first["status"], first["text"]) == (451, "4.3.0", "try again later")
    assert first["until"]
    assert first["rule"]
    assert len(world.receiver.ledger.receipts) == 1
    assert world.taken[0].content.endswith(sent)
    assert world.home.ledger.receipts == []
