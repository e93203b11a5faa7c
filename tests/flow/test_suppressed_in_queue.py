"""An address that is suppressed while a message for it waits: that message is never sent."""

from __future__ import annotations

import asyncio

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds, message


async def test_queued_copy_is_pulled(world: World) -> None:
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (say("451 4.3.0 later"),)),))
    await world.start(queue={"retry_schedule": ["2s"]}, shaping={"default": {"messages_per_connection": 1}})
    message_id = await world.accept("ann@example.com", "ben@example.com")
    await world.until_event(message_id, "deferred")
    await asyncio.to_thread(
        world.service.cli, "suppression", "add", "ann@example.com", "--yes", "--reason", "asked by telephone"
    )
    world.receiver.script = Script()
    events = await world.until_ended(message_id)

    assert "delivered" not in [event.kind for event in events if event.recipient_index == 0]
    assert len(world.taken) == 1
    assert [recipient.address for recipient in world.taken[0].recipients] == ["ben@example.com"]


async def test_a_bounce_pulls_the_other_copies(world: World) -> None:
    """Two messages for one address: the first one's hard bounce is the end of the second, even while it is held."""
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (say("451 4.3.0 later"),)),))
    await world.start(queue={"retry_schedule": ["500ms"]}, shaping={"default": {"messages_per_connection": 1}})
    held = await world.accept("ann@example.com", content=message("Held"))
    await world.until_event(held, "deferred")
    await asyncio.to_thread(world.service.cli, "queue", "hold", "--yes", "--destination", "example.com")
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (say("550 5.1.1 no such user"),)),))
    refused = await world.accept("ann@example.com", content=message("Refused"))
    await world.until_ended(refused)

    assert await world.suppressed() == {"ann@example.com": (await world.events(refused))[0].data["rule"]}
    ended = await world.until_ended(held)
    assert kinds(ended)[-1] not in ("deferred", "delivered")
