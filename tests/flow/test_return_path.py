"""Return paths on the wire, and what bounces to them: a dead mailbox is suppressed and its queued copies go."""

from __future__ import annotations

from mta.mail.identity import format_id
from mta.testing.script import ReceiverStage, Script, ScriptRule, say
from tests.flow.harness import SENDER, World, kinds
from tests.flow.permission import READER
from tests.flow.returned import DOMAIN, header_of, path_of, returns
from tests.inbound_mail import bounce, vacation

OTHER = "otto@example.com"
LATER = Script(rules=(ScriptRule(ReceiverStage.RCPT, "*", (say("451 4.3.0 later"),)),))


async def test_every_message_has_a_return_path_of_its_own(world: World) -> None:
    async with returns(world) as desk:
        first = await world.accept(READER)
        await desk.shop.send(READER)
        await world.accept(READER, OTHER)
        receipts = await world.received(3)
        paths = [path_of(receipt) for receipt in receipts]
        assert len(set(paths)) == 3
        assert all(path.startswith("bounce+") and path.endswith(f"@{DOMAIN}") for path in paths)
        assert format_id(first) in "".join(paths)
        # The sender himself stays in the record.
        assert await world.db.fetchval("select count(*) from message where sender = $1", SENDER) == 3


async def test_parameters_of_the_envelope_are_untouched(world: World) -> None:
    async with returns(world):
        await world.accept(READER, mail_options=["RET=HDRS", "ENVID=QQ1"], rcpt_options=["NOTIFY=SUCCESS"])
        (receipt,) = await world.received(1)
        assert path_of(receipt).startswith("bounce+")
        assert {"RET=HDRS", "ENVID=QQ1"} <= set(receipt.sender.parameters)


async def test_a_dead_mailbox_is_suppressed_and_its_queued_copies_go(world: World) -> None:
    async with returns(
        world, queue={"retry_schedule": ["1s"]}, shaping={"default": {"messages_per_connection": 1}}
    ) as desk:
        await desk.shop.agree(OTHER)
        returned = (await desk.shop.send(READER)).id
        assert returned
        (receipt,) = await world.received(1)
        world.receiver.script = LATER
        queued, invoice, kept = (
            (await desk.shop.send(READER)).id, await world.accept(READER), (await desk.shop.send(OTHER)).id
        )  # fmt: skip
        assert queued
        assert kept
        for message_id in (queued, invoice, kept):
            await world.until_event(message_id, "deferred")

        report = bounce(path_of(receipt), READER, header_of(receipt))
        assert (await desk.bring(report, path_of(receipt).upper())).code == 250
        (event,) = await world.until_event(returned, "bounced_async")
        assert event.recipient_index == 0
        assert event.data["status"] == "5.1.1"
        assert event.data["rule"]
        suppressed = await world.db.fetch("select address, topic, reason, message_id from suppression")
        assert [tuple(row) for row in suppressed] == [(READER, "", "hard_bounce", returned)]
        left = await world.db.fetch("select address from queue where stream = 'marketing' or address = $1", READER)
        assert [row["address"] for row in left] == [OTHER]
        assert "dropped" in kinds(await world.events(queued))
        assert "dropped" in kinds(await world.events(invoice))

        # The bounce is forwarded to the sender; duplicates change nothing.
        told = await world.received(1, world.home.ledger)
        assert told[0].sender.address == ""
        assert told[0].recipients[0].address == SENDER
        assert b"Undelivered Mail Returned to Sender" in told[0].content

        async def forward_is_recorded() -> bool:
            return await world.db.fetchval("select count(*) from queue") == 1

        await world.until(forward_is_recorded)
        before = await desk.state()
        for _ in range(20):
            assert (await desk.bring(report, path_of(receipt))).code == 250
        await desk.until_worked_off()
        assert await desk.state() == before
        assert len([event for event in await world.events(returned) if event.kind == "bounced_async"]) == 1


async def test_delays_and_answers_change_nothing_but_the_record(world: World) -> None:
    async with returns(world) as desk:
        sent = (await desk.shop.send(READER)).id
        assert sent
        (receipt,) = await world.received(1)
        await world.until_ended(sent)
        path = path_of(receipt)
        await desk.bring(bounce(path, READER, action="delayed", said="450 4.2.0 later"), path)
        await desk.bring(vacation(path), path, sender=READER)
        assert await world.until_event(sent, "delay_reported")
        (answered,) = await world.until_event(sent, "auto_reply")
        assert answered.data["by"] == "auto_reply"
        assert await world.suppressed() == {}


async def test_a_fault_of_the_senders_suppresses_nobody(world: World) -> None:
    async with returns(world) as desk:
        sent = (await desk.shop.send(READER)).id
        assert sent
        (receipt,) = await world.received(1)
        said = "550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy"
        await desk.bring(bounce(path_of(receipt), READER, said=said), path_of(receipt))
        (event,) = await world.until_event(sent, "bounced_async")
        assert event.data["fault"] == "sender"
        assert await world.suppressed() == {}


async def test_a_mailbox_behind_the_recipients_own_is_not_his(world: World) -> None:
    async with returns(world) as desk:
        sent = (await desk.shop.send(READER)).id
        assert sent
        (receipt,) = await world.received(1)
        await desk.bring(bounce(path_of(receipt), "rita@elsewhere.example"), path_of(receipt))
        await world.until_event(sent, "bounced_async")
        assert await world.suppressed() == {}


async def test_each_of_several_recipients_has_a_return_path_of_its_own(world: World) -> None:
    async with returns(world) as desk:
        await world.accept(READER, OTHER)
        paths = {receipt.recipients[0].address: path_of(receipt) for receipt in await world.received(2)}
        assert len(set(paths.values())) == 2
        await desk.bring(bounce(paths[READER], OTHER), paths[READER])
        await desk.until_worked_off()
        assert OTHER not in await world.suppressed()
        await desk.bring(bounce(paths[OTHER], OTHER), paths[OTHER])
        await desk.until_worked_off()
        assert list(await world.suppressed()) == [OTHER]
