"""Feedback reports: one suppresses all marketing and opens a case; what is not proved or not ours does nothing."""

from __future__ import annotations

import re

from mta.testing.script import Receipt
from tests.flow.harness import World, message
from tests.flow.permission import READER
from tests.flow.returned import DOMAIN, REPORTER, Desk, Signs, header_of, path_of, returns
from tests.inbound_mail import complaint, redacted

FBL = f"fbl@{DOMAIN}"


async def sent_to(desk: Desk) -> Receipt:
    """The newsletter, as its reader got it."""
    submitted = await desk.shop.send(READER)
    assert submitted.id, submitted.reply
    await desk.world.until_ended(submitted.id)
    (receipt,) = desk.world.taken
    return receipt


async def test_a_complaint_with_every_address_struck_out(world: World) -> None:
    signs = Signs(world)
    async with returns(world) as desk:
        receipt = await sent_to(desk)
        report = signs(complaint(header_of(receipt)))
        assert READER.encode() not in report
        assert (await desk.bring(report, FBL, sender=f"fbl@{REPORTER}")).code == 250
        await desk.until_worked_off()
        rows = await world.db.fetch("select address_key, account_id, topic, reason, rule from suppression")
        assert [tuple(row)[1:] for row in rows] == [(desk.shop.id, "*", "complaint", "feedback_loop")]
        (case,) = await world.db.fetch(
            "select account_id, source, address_key, dossier, complaints from complaint_case"
        )
        assert tuple(case)[:3] == (desk.shop.id, "feedback_loop", rows[0]["address_key"])
        assert case["dossier"]

        # No more marketing to him; what he has ordered is sent.
        assert (await desk.shop.send(READER)).reply.code == 550
        await world.accept(READER)


async def test_the_same_report_a_hundred_times_is_one(world: World) -> None:
    signs = Signs(world)
    async with returns(world) as desk:
        report = signs(complaint(header_of(await sent_to(desk))))
        await desk.bring(report, FBL)
        await desk.until_worked_off()
        before = await desk.state()
        for _ in range(100):
            assert (await desk.bring(report, FBL)).code == 250
        await desk.until_worked_off()
        assert await desk.state() == before
        assert await world.db.fetchval("select complaints from complaint_case") == 1


async def test_a_complaint_about_mail_without_tokens_is_found_by_its_return_path(world: World) -> None:
    signs = Signs(world)
    async with returns(world) as desk:
        sent = await world.accept(READER)
        (receipt,) = await world.received(1)
        returned = b"Return-Path: <" + path_of(receipt).encode() + b">\r\n" + header_of(receipt)
        report = complaint(returned).replace(
            b"Version: 1\r\n", f"Original-Mail-From: <{path_of(receipt)}>\r\n".encode()
        )
        await desk.bring(signs(report), FBL)
        (event,) = await world.until_event(sent, "complained")
        assert event.recipient_index == 0
        assert event.data["by"] == REPORTER
        assert event.data["case"].startswith("C-")
        assert list(await world.suppressed()) == [READER]


async def test_what_nobody_signed_is_not_believed(world: World) -> None:
    """Unsigned, altered, signed by another domain, or only by a part of the body."""
    signs, foreign = Signs(world), Signs(world, "elsewhere.example")
    async with returns(world) as desk:
        report = complaint(header_of(await sent_to(desk)))
        before = await desk.state()
        altered = signs(report).replace(b"This is a complaint.", b"This is a Complaint.")
        for content in (report, altered, foreign(report)):
            assert (await desk.bring(content, FBL)).code == 250
        await desk.until_worked_off()
        assert await desk.state() == before
        await desk.until_counted("unverified", 3)


async def test_a_domain_that_the_operator_trusts_need_not_sign(world: World) -> None:
    async with returns(world, reports={"trusted_reporters": [REPORTER]}) as desk:
        await desk.bring(complaint(header_of(await sent_to(desk)), sender=f"loop@mail.{REPORTER}"), FBL)
        await desk.until_worked_off()
        assert await world.db.fetchval("select reason from suppression") == "complaint"


async def test_a_foreign_original_changes_nothing(world: World) -> None:
    signs = Signs(world)
    async with returns(world) as desk:
        receipt = await sent_to(desk)
        forged = re.sub(rb"(CFBL-Feedback-ID: ?\s*\S{30})(\S)", _with_another_letter, header_of(receipt))
        assert forged != header_of(receipt)
        forged = re.sub(rb"(?s)List-Unsubscribe:.*?\r\n(?=[A-Z])", b"", forged)
        before = await desk.state()
        for original in (forged, message().partition(b"\r\n\r\n")[0] + b"\r\n", b""):
            assert (await desk.bring(signs(complaint(original)), FBL)).code == 250
        await desk.until_worked_off()
        assert await desk.state() == before
        await desk.until_counted("unmatched", 3)


def _with_another_letter(found: re.Match[bytes]) -> bytes:
    return found[1] + (b"-" if found[2] == b"_" else b"_")


async def test_not_spam_is_no_complaint(world: World) -> None:
    signs = Signs(world)
    async with returns(world) as desk:
        report = complaint(header_of(await sent_to(desk)), feedback="not-spam")
        await desk.bring(signs(report), FBL)
        await desk.until_worked_off()
        assert await world.suppressed() == {}
        assert not await world.db.fetchval("select count(*) from complaint_case")


def test_the_report_says_nothing_of_the_recipient() -> None:
    header = b"To: you@example.com\r\nReceived: from a\r\n\tfor <you@example.com>\r\nSubject: x\r\n"
    assert redacted(header) == b"Subject: x\r\n"
