"""A connection that ends after the final dot, before the answer: nobody can know whether the message was taken."""

from __future__ import annotations

from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptedReply, ScriptRule
from tests.flow.harness import World, kinds


async def test_tried_again_later_and_at_no_other_host(world: World) -> None:
    silent = ScriptRule(ReceiverStage.END, "*", (ScriptedReply(reply=b"", end=AfterReply.CLOSE), FRIENDLY))
    world.receiver.script = Script(rules=(silent,))
    other = await world.add_receiver("127.0.0.4")
    world.domain("example.com", "127.0.0.2", "127.0.0.4")
    await world.start()
    message_id = await world.accept("ann@example.com")
    await world.received(1)
    events = await world.until_ended(message_id)

    assert kinds(events) == ["deferred", "delivered"]
    assert events[0].data["delivery_unknown"] is True
    assert events[0].data["stage"] == "final_dot"
    assert len(world.receiver.ledger.receipts) == 2
    assert other.ledger.connections == 0  # RFC 5321 4.2.5: another host would make a duplicate certain
