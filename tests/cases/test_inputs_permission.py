"""Unsubscribe links, one click, newsletters and complaints that outsiders sent, against a running service."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiosmtplib
from aiohttp import ClientSession

from bench.service import free_port
from mta.mail.reply import Reply
from mta.store.journal.record_details import unpack
from mta.testing.script import Receipt
from tests.flow.harness import SENDER, World, message
from tests.flow.permission import MAILING, READER, shop
from tests.flow.returned import DOMAIN, Desk, returns

INPUTS = Path(__file__).parent / "inputs"
PROFILE = "gmail_yahoo_2024"
DAMAGED = "This link is damaged"
DONE = "You are unsubscribed"


@asynccontextmanager
async def desk(world: World, public: int = 0) -> AsyncIterator[Desk]:
    web = {"public": {"port": public}} if public else {}
    reports = {"trusted_reporters": ["provider.example"]}
    async with returns(world, profile=PROFILE, web=web, reports=reports) as opened:
        yield opened


def case(name: str, words: Mapping[str, str]) -> bytes:
    """The input, with what it leaves open filled in."""
    text = (INPUTS / name).read_bytes()
    for word, value in words.items():
        text = text.replace(word.encode(), value.encode())
    return text


async def delivered(desk: Desk, reader: str = READER, content: bytes | None = None) -> Receipt:
    """A newsletter, as its reader got it."""
    before = len(desk.world.taken)
    submitted = await desk.shop.send(reader, content=content)
    assert submitted.id, submitted.reply
    await desk.world.until_ended(submitted.id)
    return desk.world.taken[before]


async def token_for(desk: Desk, reader: str) -> str:
    await desk.shop.agree(reader)
    found = re.search(rb"/u/([\w-]+)>", (await delivered(desk, reader)).content)
    assert found
    return found[1].decode()


def newsletter(name: str) -> bytes:
    words = {"NAME": MAILING, "hello@shop.example": SENDER, "news@shop.example": SENDER, "reader@good.example": READER}
    return case(name, words)


async def asked(port: int, request: bytes) -> str:
    """What the public port answers to one request, status line included."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answer.decode()


async def test_one_click_counts_however_it_is_posted(world: World) -> None:
    """02 to 05: as text/plain, with a line end, with headers in the part, with a field beside it."""
    port = free_port()
    names = sorted(path.name for path in INPUTS.glob("0[2-5]-oneclick-*.txt"))
    assert len(names) == 4
    async with desk(world, port) as opened:
        for n, name in enumerate(names):
            reader = f"reader-{n}@example.com"
            token = await token_for(opened, reader)
            request = case(name, {"TOKEN": token})
            answer = await asked(port, request)
            assert answer.startswith("HTTP/1.1 200 "), (name, answer)
            assert DONE in answer
            assert (await world.suppressed())[reader] == "unsubscribe_one_click"


async def test_a_damaged_link_is_mended_or_called_damaged(world: World) -> None:
    """06: a bracket or full stop behind it is cut off; half of it, or an altered one, names no one."""
    port = free_port()
    async with desk(world, port) as opened, ClientSession(f"http://127.0.0.1:{port}") as http:
        token = await token_for(opened, "first@example.com")
        last = "A" if token[-1] != "A" else "B"
        mended = [line.replace("TOKEN", token) for line in (INPUTS / "06-damaged-token.txt").read_text().split()[:2]]
        for path in (f"/u/{token[:40]}", f"/u/{token[:-1]}{last}", f"/u/{token[1:]}"):
            for answer in (await http.get(path), await http.post(path, data={"List-Unsubscribe": "One-Click"})):
                page = await answer.text()
                assert DAMAGED in page
                assert DONE not in page
        assert await world.suppressed() == {}
        for path in mended:
            assert "<button" in await (await http.get(path)).text()
        answer = await http.post(mended[0], data={"List-Unsubscribe": "One-Click"})
        assert (answer.status, DONE in await answer.text()) == (200, True)
        assert list(await world.suppressed()) == ["first@example.com"]


async def test_the_mail_of_a_mail_program_unsubscribes(world: World) -> None:
    """01: it calls itself an automatic reply; a subject that is a valid token counts, one that quotes it does not."""
    async with desk(world) as opened:
        for reader, subject, counts in (
            ("apple@example.com", "{}", True),
            ("folded@example.com", "{}\r\n ", True),
            ("absent@example.com", "Automatic reply: {}", False),
            ("quoting@example.com", "Re: {}", False),
        ):
            token = await token_for(opened, reader)
            words = {"TOKEN": subject.format(token), "RETURNS": DOMAIN, "reader@good.example": reader}
            mail = case("01-mail-client-unsubscribe.eml", words)
            assert (await opened.bring(mail, f"unsubscribe@{DOMAIN}", sender=reader)).code == 250
            await opened.until_worked_off()
            assert (reader in await world.suppressed()) is counts, reader


async def test_a_complaint_in_three_fields_names_its_recipient(world: World) -> None:
    """P9: the token in the returned header tells who complains."""
    async with desk(world) as opened:
        token = await token_for(opened, "ann@example.com")
        words = {"TOKEN": token, "RETURNS": DOMAIN, "PUBLIC": "mta.sender.example"}
        report = case("P9-arf-without-recipient.eml", words)
        await opened.bring(report, f"fbl@{DOMAIN}", sender="loop@provider.example")
        await opened.until_worked_off()
        assert await world.db.fetchval("select address from complaint_case") == "ann@example.com"


async def test_a_link_with_a_soft_hyphen_is_read(world: World) -> None:
    """18: the reader sees "Abmelden"."""
    async with desk(world) as opened:
        for hyphen in ("&shy;", "\u00ad", "\u200b", "&#8203;"):
            content = newsletter("18-soft-hyphen-link.eml").replace(b"&shy;melden", f"{hyphen}melden".encode())
            await delivered(opened, content=content)


async def test_a_list_unsubscribe_that_cannot_work_is_replaced_and_the_cause_named(world: World) -> None:
    """28, 29, P5: cut by a line break, a template that was not filled in, encoded words."""
    async with desk(world) as opened:
        for name, cause in (
            ("28-list-unsubscribe-url-cut.eml", "cut by a line break"),
            ("29-list-unsubscribe-placeholder.eml", "a template that was not filled in"),
            ("P5-encoded-list-unsubscribe.eml", "encoded words"),
        ):
            receipt = await delivered(opened, content=newsletter(name))
            head = receipt.content.partition(b"\r\n\r\n")[0]
            assert b"app.shop.example/leave" not in head, name
            assert b"List-Unsubscribe: <https://mta.sender.example/u/" in receipt.content.replace(b"\r\n ", b" ")
            details = await world.db.fetchval("select details from message order by received_at desc limit 1")
            assert cause in str(unpack(details)), name


async def test_a_newsletter_has_an_envelope_sender(world: World) -> None:
    """38: what bounces from MAIL FROM:<> reaches no one; other mail may have it."""
    async with desk(world) as opened:
        refused = await send_from_nobody(world, newsletter("P5-encoded-list-unsubscribe.eml"))
        assert (refused.code, "marketing mail needs an envelope sender" in refused.text) == (550, True)
        assert not opened.world.taken


async def test_other_mail_may_come_from_nobody(world: World) -> None:
    """38, its other half: delivery reports and automatic replies."""
    await world.start()
    assert (await send_from_nobody(world, b"Precedence: bulk\r\n" + message())).code == 250
    assert await world.received(1)


async def send_from_nobody(world: World, content: bytes) -> Reply:
    async with world.client() as smtp:
        await smtp.ehlo()
        await smtp.mail("")
        await smtp.rcpt(READER)
        try:
            answer = await smtp.data(content)
        except aiosmtplib.SMTPResponseException as error:
            return Reply.parse(error.code, error.message)
        return Reply.parse(answer.code, answer.message)


async def test_the_refusal_of_list_mail_names_the_sign_and_the_way_out(world: World) -> None:
    """P1: a ticket system's notices carry List-Id. No field of the message decides what it is; its operator does."""
    await world.start()
    content = case("P1-list-id-in-transactional.eml", {"hello@shop.example": SENDER})
    for said in (b"", b"X-MTA-Stream: transactional\r\n"):
        refused = (await world.submit(READER, content=said + content)).reply
        assert refused.code == 550
        assert "shows List-Id, which makes it marketing" in refused.text
        assert "--allow-sign list_id" in refused.text


async def test_an_operator_allows_the_list_field_of_a_ticket_system(world: World, tmp_path: Path) -> None:
    """P1, the way out, for a profile; ``mta account credential scope --allow-sign`` is that for one credential."""
    profile = tmp_path / "tickets.toml"
    profile.write_text('extends = "transactional"\n[transactional.rules.stream]\nallow = ["list_id"]\n')
    async with shop(world, "tickets", profiles=[profile]):
        words = {"hello@shop.example": SENDER, "Build 9 passed": "Hello, build 9 passed"}  # what the credential is for
        await world.accept(READER, content=case("P1-list-id-in-transactional.eml", words))
