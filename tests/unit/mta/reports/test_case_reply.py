"""An account replies about a case by mail: it counts only if the mail is proved to be the account's."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

import pytest

from config.schema import Settings
from mta.service.jobs.complaints import open_notifier, run_deadlines
from mta.store.reputation.case_records import KEPT
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import CaseEventKind, Complaint, Source
from tests.unit.mta.reports import rig
from tests.unit.mta.store import make

SETTINGS = Settings.model_validate({"return_path": {"domain": rig.DOMAIN}})
NAMES = rig.Names("shop.example", "freemail.example", "evil.example")


async def reply(
    store: Store, sender: str, signer: str | None, subject: str = "Re: [C-1] Klacht", to: str = f"abuse@{rig.DOMAIN}"
) -> bool:
    """Whether the case was answered by this mail."""
    content = (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Mon, 1 Jun 2026 12:00:00 +0000\r\n"
        "Message-ID: <1@shop.example>\r\n\r\nThe form was wrong.\r\n"
    ).encode()
    if signer:
        content = NAMES.sign(content, signer)
    inbound = await rig.arrive(store, content, to)
    before = (await store.cases.show(1)).case.answered_at
    await rig.processor(store, NAMES).handle(inbound)
    return (await store.cases.show(1)).case.answered_at != before


async def sent(store: Store) -> list[Message]:
    """The letters that are queued."""
    async with store._database.session() as connection:
        rows = await connection.fetch("select id from message order by id")
    return [message_from_bytes(await store.messages.content(row["id"])) for row in rows]


@pytest.fixture
async def told(store: Store) -> Store:
    """With a case of which its account was told; its contact has an address at a provider of many."""
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, domains=["shop.example"], verified=True)
    await make.execute(store, "update account set contact = 'Ann, ann@freemail.example' where id = $1", account.id)
    await store.accounts.list()
    await store.cases.open(Complaint(account.id, Source.RECIPIENT, "nooit aangemeld"))
    await run_deadlines(await open_notifier(SETTINGS, store), store)
    return store


@pytest.mark.parametrize(
    ("sender", "signer"), [("ann@freemail.example", "freemail.example"), ("Bob <bob@shop.example>", "shop.example")]
)
async def test_a_signed_answer_stops_the_clock(told: Store, sender: str, signer: str) -> None:
    assert await reply(told, sender, signer)
    case, history = (seen := await told.cases.show(1)).case, seen.history
    assert (case.state.value, case.waits_for_desk) == ("answered", True)
    assert history[-1].data["text"] == "The form was wrong."
    assert history[-1].by in sender


@pytest.mark.parametrize(
    ("sender", "signer", "subject"),
    [
        ("ann@freemail.example", None, "Re: [C-1] Klacht"),
        ("ann@freemail.example", "evil.example", "Re: [C-1] Klacht"),
        ("eve@freemail.example", "freemail.example", "Re: [C-1] Klacht"),
        ("eve@evil.example", "evil.example", "Re: [C-1] Klacht"),
        ("bob@shop.example", "shop.example", "Re: [C-2] Klacht"),
        ("bob@shop.example", "shop.example", "Re: your letter"),
    ],
)
async def test_nobody_else_stops_it(told: Store, sender: str, signer: str | None, subject: str) -> None:
    assert not await reply(told, sender, signer, subject)
    assert (await told.cases.show(1)).case.state.value == "sent"


async def test_what_anyone_may_have_written_is_put_to_the_case_and_stops_no_clock(told: Store) -> None:
    for n in range(KEPT + 5):
        assert not await reply(told, "ann@freemail.example", None, f"Re: [C-1] {n}")
    seen = await told.cases.show(1)
    unproven = [entry for entry in seen.history if entry.kind is CaseEventKind.UNPROVEN]
    assert len(unproven) == KEPT, "nobody fills the history"
    assert unproven[0].data["text"] == "The form was wrong."
    assert b"The form was wrong." in (unproven[0].evidence or b"")
    assert (seen.case.state.value, seen.case.unproven_at is not None) == ("sent", True)

    desk = await open_notifier(SETTINGS, told)
    await run_deadlines(desk, told)
    await run_deadlines(desk, told)
    asked = [mail for mail in await sent(told) if "Did you send this reply?" in mail["Subject"]]
    assert len(asked) == 1, "the account is told once"
    assert await reply(told, "Ann <ann@elsewhere.example>", None, "no number", asked[0]["Reply-To"])
    case = (await told.cases.show(1)).case
    assert (case.state.value, case.unproven_at) == ("answered", None)


async def test_one_answer_is_for_all_cases_of_the_letter(told: Store) -> None:
    account = (await told.accounts.find("shop")).account
    for n in (2, 3):
        await told.cases.open(Complaint(account.id, Source.RECIPIENT, "spam", mailing=f"m{n}"))
    await run_deadlines(await open_notifier(SETTINGS, told), told)
    assert not await reply(told, "bob@shop.example", "shop.example", "Re: [C-2 +1] Klacht"), "it is not about C-1"
    assert [(await told.cases.show(n)).case.state.value for n in (1, 2, 3)] == ["sent", "answered", "answered"]


async def test_a_forged_address_of_a_letter_answers_nothing(told: Store) -> None:
    genuine = told.cases.replies.local_part(1)
    for forged in (genuine[:-1] + ("a" if genuine[-1] != "a" else "b"), genuine.replace("c1.", "c2."), "abuse+c1"):
        assert not await reply(told, "eve@evil.example", "evil.example", "hello", f"{forged}@{rig.DOMAIN}")
    assert told.cases.replies.case_of(genuine.upper()) == 1


async def test_an_answer_to_a_closed_case_changes_nothing(told: Store) -> None:
    await make.execute(told, "update complaint_case set state = 'closed'")
    assert not await reply(told, "bob@shop.example", "shop.example")
