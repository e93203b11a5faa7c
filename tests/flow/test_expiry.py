"""What has not succeeded in its time has failed, and the sender is told."""

from __future__ import annotations

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds


async def test_given_up(world: World) -> None:
    full = ScriptRule(ReceiverStage.RCPT, "*", (say("452 4.2.2 mailbox full"),))
    world.receiver.script = Script(rules=(full,))
    await world.start(queue={"expire_after": "1s"})
    message_id = await world.accept("ann@example.com")
    [notice] = await world.received(1, world.home.ledger)
    events = await world.until_ended(message_id)

    *waits, end = [kind for kind in kinds(events) if kind in ("deferred", "expired", "failed")]
    assert set(waits) == {"deferred"}
    assert end == "expired"
    assert "Action: failed" in notice.content.decode()
    assert "mailbox full" in notice.content.decode()
    assert await world.suppressed() == {}
