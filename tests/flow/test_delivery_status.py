"""What the sender asked to be told (RFC 3461): passed on where the receiver can tell it, done by us where not."""

from __future__ import annotations

import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds

pytestmark = pytest.mark.nightly

WITHOUT_DSN = ("PIPELINING", "8BITMIME", "SIZE 52428800", "ENHANCEDSTATUSCODES")


async def test_success_at_a_receiver_without_dsn(world: World) -> None:
    world.receiver.script = Script(extensions=WITHOUT_DSN)
    await world.start()
    await world.accept("ann@example.com", mail_options=["ENVID=a1"], rcpt_options=["NOTIFY=SUCCESS"])
    [receipt] = await world.received(1)
    [notice] = await world.received(1, world.home.ledger)
    text = notice.content.decode()
    assert receipt.recipients[0].parameters == ()
    assert "Action: relayed" in text
    assert "Original-Envelope-Id: a1" in text


async def test_parameters_are_passed_on(world: World) -> None:
    await world.start()
    message_id = await world.accept(
        "ann@example.com",
        mail_options=["RET=HDRS", "ENVID=a1"],
        rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Ann@example.com"],
    )
    [receipt] = await world.received(1)
    assert kinds(await world.until_ended(message_id)) == ["delivered"]
    assert {"RET=HDRS", "ENVID=a1"} <= set(receipt.sender.parameters)
    assert set(receipt.recipients[0].parameters) == {"NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Ann@example.com"}
    assert world.home.ledger.receipts == []


async def test_never_means_never(world: World) -> None:
    refusals = (ScriptRule(ReceiverStage.RCPT, "*", (say("550 5.7.1 not wanted"),)),)
    world.receiver.script = Script(rules=refusals)
    await world.start()
    message_id = await world.accept("ann@example.com", rcpt_options=["NOTIFY=NEVER"])
    assert kinds(await world.until_ended(message_id)) == ["failed"]
    # A later failure that is reported shows that a notice for the first one would have come by now.
    world.receiver.script = Script(rules=refusals)
    await world.accept("ben@example.com")
    [notice] = await world.received(1, world.home.ledger)
    assert b"ben@example.com" in notice.content
    assert b"ann@example.com" not in notice.content


async def test_no_notice_to_the_null_sender(world: World) -> None:
    world.receiver.script = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("550 5.1.1 no such user"),)),))
    await world.start()
    message_id = await world.accept("ann@example.com", sender="")
    assert kinds(await world.until_ended(message_id)) == ["failed"]
    assert await world.db.fetchval("select count(*) from message") == 1
