"""What people write by hand: it stops mail to them, they are told once, and the account can answer by mail."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from mta.store.accounts.reviews import Setting
from mta.testing.script import Receipt
from tests.flow.harness import SENDER, World
from tests.flow.permission import READER
from tests.flow.returned import DOMAIN, Desk, returns
from tests.inbound_mail import letter

ABUSE = f"abuse@{DOMAIN}"


async def sent_to(desk: Desk) -> Receipt:
    """The newsletter, as its reader got it."""
    submitted = await desk.shop.send(READER)
    assert submitted.id, submitted.reply
    await desk.world.until_ended(submitted.id)
    return desk.world.taken[-1]


async def written(desk: Desk, text: str, *, subject: str = "Vraag", to: str = ABUSE, author: str = READER) -> None:
    assert (await desk.bring(letter(to, subject, text, author=author), to, sender=author)).code == 250
    await desk.until_worked_off()


async def newest(world: World, count: int, ledger: object = None) -> Message:
    receipts = await world.received(count, ledger)  # type: ignore[arg-type]
    return message_from_bytes(receipts[-1].content)


async def test_a_written_request_stops_mail_and_is_acknowledged_once(world: World) -> None:
    async with returns(world) as desk:
        await sent_to(desk)
        await written(desk, "Graag uitschrijven.\r\n\r\nOp maandag schreef Shop:\r\n> Buy at http://evil.example")
        (row,) = await world.db.fetch("select address, topic, reason from suppression")
        assert tuple(row) == (READER, "*", "requested")
        assert (await desk.shop.send(READER)).reply.code == 550
        receipt = await newest(world, 2)
        assert (receipt["Subject"], receipt["Auto-Submitted"]) == ("U ontvangt deze e-mails niet meer", "auto-replied")
        assert "evil" not in receipt.as_string()
        for _ in range(3):
            await written(desk, "Graag uitschrijven.")
        await written(desk, receipt.as_string(), author=ABUSE, subject="Re: our own receipt")
        await world.accept(READER)
        assert len(await world.received(3)) == 3, "one newsletter, one receipt, one order"
        consents = await world.db.fetchval("select count(*) from consent_entry where kind = 'revoked'")
        assert consents == 0, "what anyone may have written ends no consent"


async def test_a_complaint_by_its_mailing_id_from_the_receipt_to_the_agreement(world: World) -> None:
    async with returns(world) as desk:
        await desk.shop.store.reviews.set(desk.shop.id, {Setting.CONTACT: SENDER}, by="test")
        mailing = message_from_bytes((await sent_to(desk)).content)["X-Mailing-ID"]
        await written(desk, f"Ik heb me nooit aangemeld, http://evil.example! Kenmerk: {mailing}")
        (case,) = await world.db.fetch("select id, mailing, dossier::text from complaint_case")
        assert case["mailing"] == mailing
        assert '"state": "holds"' in case["dossier"], "taken before the complaint ended anything"
        assert await world.db.fetchval("select reason from suppression") == "requested"
        assert "C-1" in (await newest(world, 2)).get_payload()

        told = await newest(world, 1, world.home.ledger)
        assert told["Subject"].startswith("[C-1] ")
        await written(desk, "The form was wrong.", subject="Re: [C-1]", author=SENDER)
        assert await world.db.fetchval("select state::text from complaint_case") == "sent", "nobody has signed it"
        asked = await newest(world, 2, world.home.ledger)
        assert asked["Reply-To"] == told["Reply-To"]
        await written(desk, "The form was wrong.", to=asked["Reply-To"], author="ann@elsewhere.example")
        assert await world.db.fetchval("select state::text from complaint_case") == "answered"
        history = await world.db.fetch("select kind from case_event order by id")
        assert [row["kind"] for row in history] == ["opened", "sent", "unproven", "answered"]
