"""An account loses its standing while its application is connected and its mail is queued, and gets it back, or not."""

from __future__ import annotations

import asyncio
import smtplib

import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import SENDER, World, kinds, message

pytestmark = pytest.mark.nightly

LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))


def answer(smtp: smtplib.SMTP, *, good: bool) -> str:
    """The answer to MAIL, once the worker knows: the first that is good, or not."""
    while True:
        code, text = smtp.mail(SENDER)
        if (code == 250) is good:
            return f"{code} {text.decode()}"
        smtp.rset()


async def test_a_live_session_is_refused_at_its_next_mail_and_goes_on_after_the_resumption(world: World) -> None:
    await world.start()

    def mta(*words: str) -> str:
        return world.service.cli("account", *words)

    with smtplib.SMTP("127.0.0.1", world.service.port, timeout=30) as smtp:
        await asyncio.to_thread(smtp.sendmail, SENDER, ["ann@example.com"], message("Before"))
        await asyncio.to_thread(mta, "suspend", "shop", "--reason", "too many complaints", "--case", "C-17")
        refused = await asyncio.to_thread(answer, smtp, good=False)
        assert refused.startswith(
            '550 5.7.1 account_state: account "shop" is suspended (too many complaints, case C-17)'
        )
        await asyncio.to_thread(mta, "resume", "shop", "--reason", "settled")
        assert await asyncio.to_thread(answer, smtp, good=True)
        await asyncio.to_thread(smtp.rset)
        await asyncio.to_thread(smtp.sendmail, SENDER, ["ben@example.com"], message("After"))
    receipts = await world.received(2)
    assert {receipt.recipients[0].address for receipt in receipts} == {"ann@example.com", "ben@example.com"}


async def test_what_is_queued_waits_for_the_resumption(world: World) -> None:
    world.receiver.script = LATER
    await world.start(queue={"retry_schedule": ["200ms"]}, shaping={"default": {"messages_per_connection": 1}})
    message_id = await world.accept("ann@example.com")
    await world.until_event(message_id, "deferred")
    await asyncio.to_thread(world.service.cli, "account", "suspend", "shop", "--reason", "complaints")

    async def held() -> bool:
        return bool(
            await world.db.fetchval(
                "select count(*) from queue join hold using (message_id, recipient_index)"
                " where source = 'account_status' and lease is null"
            )
        )

    await world.until(held)
    world.receiver.script = Script()
    attempts = kinds(await world.events(message_id)).count("deferred")
    told = await asyncio.to_thread(world.service.cli, "account", "resume", "shop")
    assert "1 held recipients released" in told
    events = await world.until_ended(message_id)
    assert [kind for kind in kinds(events) if kind != "deferred"] == ["held", "released", "delivered"]
    assert attempts == kinds(events).count("deferred")
    assert len(world.taken) == 1


async def test_what_a_terminated_account_has_queued_fails_for_a_reason(world: World) -> None:
    world.receiver.script = LATER
    await world.start(queue={"retry_schedule": ["1h"]})
    message_id = await world.accept("ann@example.com")
    await world.until_event(message_id, "deferred")
    await asyncio.to_thread(world.service.cli, "account", "suspend", "shop", "--reason", "spam")
    await asyncio.to_thread(world.service.cli, "account", "terminate", "shop", "--reason", "spam", "--yes")
    events = await world.until_ended(message_id)
    assert [kind for kind in kinds(events) if kind != "deferred"] == ["held", "bounced", "failed", "dsn"]
    assert "the account is terminated: spam" in events[-2].data["text"]
    assert world.taken == []
