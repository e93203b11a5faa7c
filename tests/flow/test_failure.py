"""A recipient who does not exist: the sender is told, and the address is not mailed again."""

from __future__ import annotations

import email
import email.policy

import aiosmtplib
import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import World, kinds

UNKNOWN = ScriptRule(ReceiverStage.RCPT, "nobody@*", (say("550 5.1.1 no such user here"),))


async def test_notice_and_suppression(world: World) -> None:
    world.receiver.script = Script(rules=(UNKNOWN,))
    await world.start()
    message_id = await world.accept("nobody@example.com")
    [notice] = await world.received(1, world.home.ledger)
    events = await world.until_ended(message_id)

    assert kinds(events)[0] == "failed"
    assert events[0].data["fault"] == "recipient"
    assert world.receiver.ledger.receipts == []
    assert list(await world.suppressed()) == ["nobody@example.com"]

    assert notice.sender.address == ""  # RFC 5321 4.5.5: nobody answers a notice
    assert [recipient.address for recipient in notice.recipients] == ["ann@sender.example"]
    report = email.message_from_bytes(notice.content, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    fields = notice.content.decode()
    assert "Final-Recipient: rfc822;" in fields.replace("rfc822; ", "rfc822;")
    assert "Action: failed" in fields
    assert "Status: 5.1.1" in fields


async def test_the_address_is_refused_from_then_on(world: World) -> None:
    world.receiver.script = Script(rules=(UNKNOWN,))
    await world.start()
    await world.until_ended(await world.accept("nobody@example.com"))
    commands = len(world.receiver.ledger.commands)
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await world.submit("Nobody@Example.com")
    assert refused.value.code == 550
    assert len(world.receiver.ledger.commands) == commands


async def test_a_senders_fault_suppresses_nobody(world: World) -> None:
    refusal = ScriptRule(ReceiverStage.END, "ann@*", (say("550 5.7.1 message refused: looks like spam"),))
    world.receiver.script = Script(rules=(refusal,))
    await world.start()
    message_id = await world.accept("ann@example.com")
    await world.received(1, world.home.ledger)
    assert kinds(await world.until_ended(message_id))[0] == "failed"
    assert await world.suppressed() == {}
