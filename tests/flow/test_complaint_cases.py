"""A complaint's clock in a running service: the account is told by mail, stopped, and goes on by an agreement.

The clock is moved by moving what is stored: the service compares with the database's clock.
"""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from typing import Any

import pytest

from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import SENDER, World
from tests.flow.permission import LOGIN, open_shop

pytestmark = pytest.mark.nightly

LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))


@pytest.fixture
async def shop(world: World) -> World:
    """Its account has a contact, whose mail is taken by the home receiver; readers cannot be reached yet."""
    world.receiver.script = LATER
    await world.db.execute("update account set contact = $1, profile = 'spotler'", SENDER)
    async with open_shop(world):
        port = {"address": "127.0.0.1", "port": world.service.port, **LOGIN}
        await world.start(
            queue={"retry_schedule": ["1h"]},
            shaping={"default": {"messages_per_connection": 1}},
            submission={"listeners": [port]},
        )
    return world


async def mta(world: World, *words: str) -> str:
    return await asyncio.to_thread(world.service.cli, "complaint", *words)


async def state(world: World) -> str:
    case = await world.db.fetchval("select state::text from complaint_case")
    account = await world.db.fetchval("select status::text from account")
    return f"{case}, account {account}"


async def until_state(world: World, wanted: str) -> None:
    async def reached() -> bool:
        return await state(world) == wanted

    await world.until(reached)


async def letter(world: World, count: int) -> Any:
    """The newest of ``count`` letters to the account."""
    receipts = await world.received(count, world.home.ledger)
    return message_from_bytes(receipts[-1].content)


async def until_queue(world: World, condition: str) -> None:
    async def reached() -> bool:
        return bool(await world.db.fetchval(f"select count(*) from queue where account_id > 0 and {condition}"))

    await world.until(reached)


async def test_no_answer_in_24_hours_stops_the_account_until_there_is_an_agreement(shop: World) -> None:
    message_id = await shop.accept("rita@example.com")
    await shop.until_event(message_id, "deferred")
    await mta(shop, "open", "--account", "shop", "--summary", "never signed up", "--recipient", "rita@example.com")
    await until_state(shop, "sent, account active")
    told = await letter(shop, 1)
    assert told["Subject"].startswith("[C-1] Complaint: please reply by ")
    assert told["From"] == "postmaster@mta.sender.example"

    await shop.db.execute("update complaint_case set due_at = due_at - interval '23 hours 59 minutes'")
    assert (await shop.submit("ben@example.com")).id, "there is time yet"
    await shop.db.execute("update complaint_case set due_at = due_at - interval '2 minutes'")
    await until_state(shop, "suspended, account suspended")
    assert (await letter(shop, 2))["Subject"] == "[C-1] The deadline for your reply has passed"
    await until_queue(shop, "holds = 1 and exists (select from hold where source = 'account_status' and ref = 'C-1')")

    await mta(shop, "answer", "C-1", "--text", "our form was wrong")
    assert await state(shop) == "suspended, account suspended", "an answer alone is no agreement"
    shop.receiver.script = Script()
    assert "Account resumed; 2 held recipients released" in await mta(shop, "accept", "C-1", "--text", "double opt-in")
    receipts = await shop.received(2)
    assert {receipt.recipients[0].address for receipt in receipts} == {"rita@example.com", "ben@example.com"}


async def test_48_hours_until_there_is_a_good_answer(shop: World) -> None:
    await shop.db.execute("update account set profile = 'custommail'")
    await mta(shop, "open", "--account", "shop", "--summary", "never signed up")
    await until_state(shop, "sent, account active")
    await mta(shop, "answer", "C-1", "--text", "sorry")
    await shop.db.execute(
        "update complaint_case set answered_at = answered_at - interval '2 days', due_at = due_at - interval '2 days'"
    )

    async def reminded() -> bool:
        return bool(await shop.db.fetchval("select count(*) from case_event where kind = 'reminded'"))

    await shop.until(reminded)
    assert await state(shop) == "answered, account active"
    await mta(shop, "reject", "C-1", "--reason", "that is no solution")
    await until_state(shop, "suspended, account suspended")
    await mta(shop, "answer", "C-1", "--text", "the list is removed")
    await mta(shop, "accept", "C-1", "--text", "list removed")
    assert await state(shop) == "agreed, account active"


async def test_spam_stops_at_once_and_two_hours_later_what_is_queued_fails(shop: World) -> None:
    message_id = await shop.accept("rita@example.com")
    await shop.until_event(message_id, "deferred")
    await mta(shop, "open", "--account", "shop", "--source", "provider", "--summary", "a flood of spam", "--urgent")
    await until_state(shop, "suspended, account suspended")
    assert (await letter(shop, 1))["Subject"].startswith("[C-1] Account suspended because of spam: deadline ")
    await until_queue(shop, "holds = 1 and exists (select from hold where source = 'account_status')")
    await shop.db.execute("update complaint_case set due_at = due_at - interval '2 hours'")
    events = await shop.until_ended(message_id)
    assert [event.kind for event in events if event.kind in ("held", "bounced", "failed")] == [
        "held",
        "bounced",
        "failed",
    ]
    assert "its time to answer has expired" in next(event.data["text"] for event in events if event.kind == "failed")
    assert shop.taken == []


async def test_deadlines_outlive_a_restart(shop: World) -> None:
    await mta(shop, "open", "--account", "shop", "--summary", "never signed up")
    await until_state(shop, "sent, account active")
    await asyncio.to_thread(shop.service.stop)
    await shop.db.execute("update complaint_case set due_at = due_at - interval '25 hours'")
    await shop.start()
    await until_state(shop, "suspended, account suspended")
