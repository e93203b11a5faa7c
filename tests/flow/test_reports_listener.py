"""The door for what comes back takes its own addresses and nothing else, keeps what it takes, and never relays."""

from __future__ import annotations

import asyncio
import re

from mta.mail.identity import new_message_id
from mta.testing.script import Receipt
from tests.flow.harness import World, message
from tests.flow.permission import READER
from tests.flow.returned import DOMAIN, Desk, Signs, header_of, path_of, returns
from tests.inbound_mail import bounce, letter, vacation

OPERATOR = "desk@example.com"
ABUSE = f"abuse@{DOMAIN}"


async def test_it_takes_its_own_addresses_and_relays_nothing(world: World) -> None:
    async with returns(world) as desk:
        await world.accept(READER)
        (receipt,) = await world.received(1)
        path = path_of(receipt)
        for ours in (path, path.upper(), f"fbl@{DOMAIN}", f"Unsubscribe@{DOMAIN}", f"abuse@{DOMAIN}", "postmaster"):
            assert (await desk.bring(message(), ours)).code == 250
        for elsewhere in ("bob@example.com", "ann@sender.example", f"abuse@sub.{DOMAIN}"):
            assert str(await desk.bring(message(), elsewhere)).startswith("550 5.7.1")
        forged = f"bounce+1{new_message_id().hex}@{DOMAIN}"
        damaged = path[:-30] + ("1" if path[-30] == "0" else "0") + path[-29:]
        for unknown in (
            f"ann@{DOMAIN}",
            f"bounce@{DOMAIN}",
            forged,
            damaged,
            path.replace("+", "+0"),
        ):
            assert str(await desk.bring(message(), unknown)).startswith("550 5.1.1")
        await desk.until_worked_off()
        assert len(world.taken) == 1


async def test_there_is_no_auth(world: World) -> None:
    async with returns(world) as desk:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"EHLO mx.example.com\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\nQUIT\r\n")
        said = (await reader.read()).decode()
        writer.close()
        assert "AUTH" not in said.partition("\r\n502")[0]
        assert "502 5.5.1" in said
        assert "250 2.1.0" in said


async def test_what_is_taken_survives_a_crash(world: World) -> None:
    async with returns(world) as desk:
        sent = (await desk.shop.send(READER)).id
        assert sent
        (receipt,) = await world.received(1)
        await world.until_ended(sent)
        report = bounce(path_of(receipt), READER, header_of(receipt))
        # Somebody had taken it, and is gone.
        await world.db.execute(
            "insert into inbound_report (recipients, client, hello, content, tries, due_at)"
            " values ($1, '127.0.0.1', 'mx.example.com', $2, 1, now() - interval '1 second')",
            [path_of(receipt)],
            report,
        )
        await world.until_event(sent, "bounced_async")
        assert list(await world.suppressed()) == [READER]


async def test_expired_return_paths_are_refused(world: World) -> None:
    async with returns(world, return_path={"expire_after": "0s"}) as desk:
        await world.accept(READER)
        (receipt,) = await world.received(1)
        reply = await desk.bring(bounce(path_of(receipt), READER), path_of(receipt))
        assert str(reply).startswith("550 5.1.1")
        assert "expired" in reply.text
        await desk.until_counted("expired", 1)


async def test_unsubscribing_by_mail(world: World) -> None:
    async with returns(world) as desk:
        token = await token_of(desk)
        box = f"unsubscribe@{DOMAIN}"
        before = await desk.state()
        await desk.bring(letter(box, token[:-1] + ("A" if token[-1] != "A" else "B")), box, sender=READER)
        await desk.bring(letter(box, "hello, who are you?"), box, sender=READER)
        absent = vacation(box).replace(b"Away until Monday", b"Automatic reply: " + token.encode())
        await desk.bring(absent, box, sender=READER)
        await desk.until_worked_off()
        assert await desk.state() == before
        await desk.bring(letter(box, token), box, sender=READER)
        await desk.until_worked_off()
        assert await world.db.fetchval("select reason from suppression") == "unsubscribe"
        assert (await desk.shop.send(READER)).reply.code == 550
        again = await desk.state()
        await desk.bring(letter(box, token), box, sender=READER)
        await desk.until_worked_off()
        assert await desk.state() == again


async def test_a_complaint_by_mail_with_the_message_attached(world: World) -> None:
    async with returns(world, reports={"postmaster_forward": OPERATOR}) as desk:
        await desk.shop.send(READER)
        (receipt,) = await world.received(1)
        await desk.bring(letter(ABUSE, "Spam!", "I never asked for this spam.", receipt.content), ABUSE, sender=READER)
        await desk.until_worked_off()
        case = await world.db.fetchrow("select account_id, source, mailing, address from complaint_case")
        assert case["account_id"] == desk.shop.id
        assert case["source"] == "recipient"
        assert case["mailing"]
        assert await world.db.fetchval("select reason from suppression") == "complaint"
        # People read it too.
        await world.patiently(world.receiver.ledger.wait_until(lambda ledger: to(ledger.accepted, OPERATOR)))


async def test_an_authority_is_known_by_its_signature_alone(world: World) -> None:
    signs = Signs(world, "acm.nl")
    async with returns(world) as desk:
        await desk.shop.send(READER)
        (receipt,) = await world.received(1)
        mailing = re.search(rb"\nX-Mailing-ID: (\S+)", receipt.content)
        assert mailing
        body = f"We received a complaint about this spam, X-Mailing-ID: {mailing[1].decode()}"
        mail = letter(ABUSE, "Complaint about spam", body, author="ACM <toezicht@acm.nl>")
        sources = []
        for brought in (mail, signs(mail)):
            await desk.bring(brought, ABUSE, sender="toezicht@acm.nl")
            await desk.until_worked_off()
            rows = await world.db.fetch("select source from complaint_case order by id")
            sources.append([row["source"] for row in rows])
        assert sources == [["recipient"], ["recipient", "regulator"]]


async def test_ordinary_mail_to_postmaster_reaches_people_and_changes_nothing(world: World) -> None:
    async with returns(world, reports={"postmaster_forward": OPERATOR}) as desk:
        await desk.bring(
            letter("postmaster", "Our firewall", "Do you still use 192.0.2.7?"), "postmaster", sender=READER
        )
        (receipt,) = await world.received(1)
        assert receipt.sender.address == ""
        assert receipt.recipients[0].address == OPERATOR
        assert b"Our firewall" in receipt.content
        assert await world.suppressed() == {}
        assert not await world.db.fetchval("select count(*) from complaint_case")


async def test_what_programs_answer_changes_nothing(world: World) -> None:
    async with returns(world, reports={"postmaster_forward": OPERATOR}) as desk:
        submitted = await desk.shop.send(READER)
        assert submitted.id
        await world.until_ended(submitted.id)
        (receipt,) = world.taken
        before = await desk.state()
        for box in ("abuse", "postmaster", "fbl", "unsubscribe"):
            await desk.bring(vacation(f"{box}@{DOMAIN}"), f"{box}@{DOMAIN}")
            await desk.bring(bounce(f"{box}@{DOMAIN}", READER, header_of(receipt)), f"{box}@{DOMAIN}")
            await desk.until_worked_off()
            assert await desk.state() == before, box


def to(receipts: list[Receipt], address: str) -> bool:
    return any(receipt.recipients[0].address == address for receipt in receipts)


async def token_of(desk: Desk) -> str:
    """The token in the List-Unsubscribe field of a newsletter."""
    submitted = await desk.shop.send(READER)
    assert submitted.id, submitted.reply
    await desk.world.until_ended(submitted.id)
    (receipt,) = desk.world.taken
    found = re.search(rb"mailto:unsubscribe@[^?]+\?subject=([A-Za-z0-9_-]+)", receipt.content)
    assert found
    return found[1].decode()
