"""A mailbox that is full time and again ends on the suppression list; a message that gets through begins anew."""

from __future__ import annotations

import asyncio

import aiosmtplib
import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds, message

pytestmark = pytest.mark.nightly

FULL = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (say("552 5.2.2 mailbox full"),)),))
SUPPRESSION = {"soft_bounces": [{"category": "mailbox_full", "count": 3, "mailings": 3}]}


async def fail_a_day_ago(world: World, subject: str) -> str:
    """A message that fails; then a day passes."""
    message_id = await world.accept("ann@example.com", content=message(subject))
    await world.until_event(message_id, "failed")
    await world.db.execute("update soft_bounce set day = day - 1")
    return message_id


async def test_repeated_soft_bounces_suppress_unless_something_got_through(world: World) -> None:
    world.receiver.script = FULL
    await world.start(suppression=SUPPRESSION, shaping={"default": {"messages_per_connection": 1}})
    for subject in ("first", "second"):
        await fail_a_day_ago(world, subject)
    assert await world.suppressed() == {}

    world.receiver.script = Script()
    delivered = await world.accept("ann@example.com", content=message("third"))
    await world.until_event(delivered, "delivered")
    assert await world.db.fetchval("select count(*) from soft_bounce") == 0

    world.receiver.script = FULL
    for subject in ("fourth", "fifth"):
        await fail_a_day_ago(world, subject)
    assert await world.suppressed() == {}
    last = await fail_a_day_ago(world, "sixth")
    (row,) = await world.db.fetch("select reason, detail, expires_at > now() + interval '179 days' from suppression")
    assert tuple(row) == ("soft_bounces", "mailbox_full", True)
    assert "dropped" not in kinds(await world.events(last))
    with pytest.raises(aiosmtplib.SMTPResponseException, match="soft_bounces: mailbox_full"):
        await world.submit("ann@example.com", content=message("seventh"))


async def test_a_delivery_lifts_no_objection(world: World) -> None:
    """Somebody objects while a message to them is on its way and gets through all the same."""
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "ann@*", (say("451 4.3.0 later"),)),))
    await world.start(queue={"retry_schedule": ["500ms"]}, shaping={"default": {"messages_per_connection": 1}})
    await asyncio.to_thread(
        world.service.cli,
        "suppression",
        "add",
        "ann@example.com",
        "--account",
        "shop",
        "--topic",
        "*",
        "--reason-code",
        "objection",
    )
    message_id = await world.accept("ann@example.com")  # transactional: not what they objected to
    await world.until_event(message_id, "deferred")
    world.receiver.script = Script()
    await world.until_event(message_id, "delivered")
    (row,) = await world.db.fetch("select reason, topic, expires_at from suppression")
    assert tuple(row) == ("objection", "*", None)
