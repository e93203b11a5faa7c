"""A receiver that says 421 and hangs up, at each stage: the message is delivered later, once."""

from __future__ import annotations

import pytest

from mta.testing.script import FRIENDLY, AfterReply, ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds

pytestmark = pytest.mark.nightly


@pytest.mark.parametrize(
    "stage",
    [
        ReceiverStage.CONNECT,
        ReceiverStage.HELLO,
        ReceiverStage.MAIL,
        ReceiverStage.RCPT,
        ReceiverStage.DATA,
        ReceiverStage.END,
    ],
    ids=lambda stage: stage.name,
)
async def test_421(world: World, stage: ReceiverStage) -> None:
    closing = say("421 4.3.2 going down for a minute", end=AfterReply.CLOSE)
    world.receiver.script = Script(rules=(ScriptRule(stage, "*", (closing, FRIENDLY)),))
    await world.start()
    message_id = await world.accept("ann@example.com", "ben@example.com")
    await world.received(1)
    events = await world.until_ended(message_id)

    assert kinds(events) == ["deferred", "deferred", "delivered", "delivered"]
    assert {(event.data["code"], event.data["status"]) for event in events[:2]} == {(421, "4.3.2")}
    assert await world.suppressed() == {}
