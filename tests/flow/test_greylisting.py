"""A receiver that greylists sees the same client, sender and recipient again, and takes one copy."""

from __future__ import annotations

from mta.testing.script import FRIENDLY, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds


async def test_same_triplet_again(world: World) -> None:
    grey = ScriptRule(ReceiverStage.RCPT, "ann@*", (say("450 4.7.1 greylisted, come back in five minutes"), FRIENDLY))
    world.receiver.script = Script(rules=(grey,))
    await world.start()
    message_id = await world.accept("ann@example.com")
    [receipt] = await world.received(1)
    assert kinds(await world.until_ended(message_id)) == ["deferred", "delivered"]

    commands = [line for _, line in world.receiver.ledger.commands]
    envelopes = [line.split(" ")[:2] for line in commands if line.startswith(("MAIL", "RCPT"))]
    assert envelopes[0] == envelopes[2]
    assert envelopes[1] == envelopes[3]
    assert receipt.client == "127.0.0.1"
