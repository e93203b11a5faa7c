"""A mailing's life over real SMTP: refused or held until somebody confirms it, sampled, stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from config.schema import Settings
from mta.admin.files.message_file import message_of, submitted
from mta.demo.account import BY, TOPIC
from mta.demo.cases import newsletter
from mta.dkim import KeyRing, Signer
from mta.store.mailings.mailing_holds import QueueMoved
from mta.submission.mailing_confirmation import ConfirmationContext, Handed, MailingConfirmed, confirm_mailing
from mta.submission.page_check import SkippedPageCheck
from mta.submission.prepare import Preparer
from mta.submission.rate_limit import RateLimit
from policy.permission.tokens import SampleTokens
from policy.profile import load_profiles
from policy.rule_context import RuleContext
from tests.flow.harness import SENDER, World
from tests.flow.permission import READER, Shop, shop

PROFILE = 'extends = "cleverreach"\n[marketing.rules.confirmation]\nunconfirmed = "{}"\n'
TERMS = "1"
CONTEXT = RuleContext("mta.sender.example", SampleTokens(), web_url="https://mta.sender.example")


@asynccontextmanager
async def unconfirmed(world: World, fate: str) -> AsyncIterator[Shop]:
    """An account whose profile refuses or holds what is not confirmed."""
    file = world.directory / "strict.toml"
    file.write_text(PROFILE.format(fate))
    async with shop(world, "strict", profiles=[file]) as desk:
        yield desk


async def holds(world: World) -> list[tuple[str, str]]:
    return [tuple(row) for row in await world.db.fetch("select source::text, ref from hold")]


async def test_an_unconfirmed_mailing_is_refused_and_goes_once_it_is_confirmed(world: World) -> None:
    async with unconfirmed(world, "refuse") as desk:
        mailing = await desk.announce("summer", confirmed=False)
        reply = (await desk.send(READER, mailing="summer")).reply
        assert (reply.code, reply.status) == (550, "5.7.1")
        assert reply.text.startswith(
            f'confirmation: mailing "summer" is not confirmed; confirm it (mta mailing confirm {mailing})'
        )
        await desk.store.mailings.confirm(mailing, by="A. Baker", terms=TERMS)
        assert (await desk.send(READER, mailing="summer")).id  # at once: nobody waits for a copy in memory
        (receipt,) = await world.received(1)
    assert f"\nX-Mailing-ID: {mailing}\r\n" in receipt.content.decode()


async def test_a_held_mailing_goes_when_it_is_confirmed(world: World) -> None:
    async with unconfirmed(world, "hold") as desk:
        mailing = await desk.announce("summer", confirmed=False)
        held = await desk.send(READER, mailing="summer")
        assert held.id
        assert await holds(world) == [("mailing", "unconfirmed")]
        sent = await desk.send(READER)  # a confirmed one overtakes it
        assert sent.id
        await world.received(1)
        assert await desk.store.mailings.confirm(mailing, by="A. Baker", terms=TERMS) == QueueMoved(released=1)
        receipts = await world.received(2)
        assert f"X-Mailing-ID: {mailing}" in receipts[1].content.decode()
        assert [event.kind for event in await world.until_ended(held.id)] == ["released", "delivered"]


@pytest.mark.nightly
async def test_what_was_held_while_its_mailing_was_confirmed_is_found(world: World) -> None:
    async with unconfirmed(world, "hold") as desk:
        mailing = await desk.announce("summer", confirmed=False)
        held = await desk.send(READER, mailing="summer")
        assert held.id
        # As if the confirmation had come between the look at the mailing and the commit of the message.
        await world.db.execute(
            "update mailing set confirmed_at = now(), confirmed_by = 'A. Baker', confirmed_terms = '1' where id = $1",
            mailing,
        )
        await world.received(1)
        await world.until_event(held.id, "released")


def letter(reader: str, offer: str = "this week our sourdough is half the price.") -> bytes:
    """A newsletter that names its reader's address in a link."""
    content = newsletter(SENDER, [reader], "Offers", fields={"X-MTA-Stream": "marketing", "X-MTA-Mailing": "summer"})
    return content.replace(b"this week our sourdough is half the price.", offer.encode())


async def confirm(world: World, desk: Shop, *messages: bytes) -> MailingConfirmed:
    """Confirm the mailing "summer" with its messages, as the command line does it."""
    mailing = await desk.store.mailings.find(desk.id, "summer")
    account = desk.store.accounts.by_id(desk.id)
    assert mailing is not None
    assert account is not None
    profiles = load_profiles([world.directory / "strict.toml"], CONTEXT)
    settings = Settings()
    signer = Signer(settings.signing, KeyRing.of_files(settings.signing))
    preparer = Preparer(settings, desk.store, signer, profiles)
    pages = SkippedPageCheck(profiles, "A. Baker", "no network")
    rate_limit = RateLimit(desk.store.quotas, settings.rate_limits)
    context = ConfirmationContext(desk.store, preparer, pages, rate_limit, TERMS)
    files = [message_of("file", content, [], None) for content in messages]
    handed = [Handed(file.name, submitted(file, account)) for file in files]
    return await confirm_mailing(context, account, mailing, handed, by="A. Baker", at=datetime.now(UTC))


async def test_another_message_than_the_one_confirmed_waits_until_it_is_confirmed_too(world: World) -> None:
    async with unconfirmed(world, "hold") as desk:
        await desk.announce("summer", confirmed=False)
        others = [f"reader{n}@example.com" for n in range(4)]
        await desk.agree(*others)
        bill = "pay your bill at once."
        assert (await desk.send(others[0], content=letter(others[0]))).id
        early = await desk.send(others[1], content=letter(others[1], bill))
        assert await holds(world) == [("mailing", "unconfirmed")] * 2
        await confirm(world, desk, letter(READER))  # the service may release it before the command does
        assert await holds(world) == [("mailing", "unmatched")]
        assert (await desk.send(others[2], content=letter(others[2]))).id
        receipts = await world.received(2)
        assert {receipt.recipients[0].address for receipt in receipts} == {others[0], others[2]}
        altered = await desk.send(others[3], content=letter(others[3], bill))
        assert altered.id
        assert await holds(world) == [("mailing", "unmatched")] * 2
        text = await world.db.fetchval("select text from hold limit 1")
        assert "half the" in text
        assert "pay your bill" in text
        confirmed = await confirm(world, desk, letter(READER, bill))
        assert [each.number for each in confirmed.references] == [1, 2]
        await world.received(4)
        assert early.id
        kinds = [event.kind for event in await world.until_ended(early.id)]
        assert kinds == ["held", "held", "released", "delivered"]


async def test_what_waits_with_a_footer_of_the_service_goes_when_its_message_is_confirmed(world: World) -> None:
    """The footer differs in each copy, for its link is the recipient's own."""
    file = world.directory / "strict.toml"
    file.write_text('extends = "custommail"\n[marketing.rules.confirmation]\nunconfirmed = "hold"\n')
    async with shop(world, "strict", profiles=[file]) as desk:
        await desk.announce("summer", confirmed=False)
        others = [f"reader{n}@example.com" for n in range(3)]
        await desk.agree(*others)
        for other in others[:2]:
            assert (await desk.send(other, content=letter(other))).id
        assert (await desk.send(others[2], content=letter(others[2], "pay your bill at once."))).id
        await confirm(world, desk, letter(READER))
        receipts = await world.received(2)
        assert {receipt.recipients[0].address for receipt in receipts} == set(others[:2])
        assert all(b"https://mta.sender.example/u/" in receipt.content for receipt in receipts)
        assert await holds(world) == [("mailing", "unmatched")]


async def test_of_a_sampled_mailing_the_rest_waits_for_a_look(world: World) -> None:
    async with shop(world) as desk:
        mailing = await desk.store.mailings.add(desk.id, "first", topic=TOPIC, list="newsletter", by=BY, sample=2)
        await desk.store.mailings.confirm(mailing.id, by="A. Baker", terms=TERMS)
        readers = [f"reader{n}@example.com" for n in range(4)]
        await desk.agree(*readers)
        for reader in readers:
            assert (await desk.send(reader, mailing="first")).id
        await world.received(2)
        assert await holds(world) == [("sampling", "")] * 2
        assert await desk.store.mailings.release(mailing.id, by="A. Baker") == QueueMoved(released=2)
        await world.received(4)


async def test_a_stopped_mailing_is_refused_and_what_is_queued_of_it_fails_with_a_notice(world: World) -> None:
    async with unconfirmed(world, "hold") as desk:
        mailing = await desk.announce("summer", confirmed=False)
        held = await desk.send(READER, mailing="summer")
        assert held.id
        await desk.store.mailings.halt(mailing, by="A. Baker", why="wrong price", bounce=True)
        (failed,) = await world.until_event(held.id, "failed")
        assert "stopped: wrong price" in failed.data["text"]
        await world.received(1, world.home.ledger)

        async def refused() -> bool:
            return "was stopped (wrong price)" in (await desk.send(READER, mailing="summer")).reply.text

        await world.until(refused)
    assert world.taken == []


async def test_a_field_in_our_name_is_never_doubled_and_a_one_click_header_is_kept(world: World) -> None:
    own = {
        "X-Mailing-ID": "mine",
        "Feedback-ID": "a:b:c:mine",
        "CFBL-Address": "mine@sender.example",
        "List-Unsubscribe": "<https://sender.example/off/1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    async with shop(world) as desk:
        submitted = await desk.send(READER, fields=own)
        assert submitted.id, submitted.reply
        (receipt,) = await world.received(1)
    header = receipt.content.decode().partition("\r\n\r\n")[0]
    for name in own:
        assert header.count(f"\n{name}:") == 1, name
    assert "mine" not in header
    assert "<https://sender.example/off/1>" in header
