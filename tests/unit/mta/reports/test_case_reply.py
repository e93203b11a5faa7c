"""An account replies about a case by mail: it counts only if the mail is proved to be the account's."""

from __future__ import annotations

import pytest

from config.schema import Settings
from mta.service.jobs.complaints import ComplaintNotifier, run_deadlines
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import Complaint, Source
from tests.unit.mta.reports import rig
from tests.unit.mta.store import make

NAMES = rig.Names("shop.example", "freemail.example", "evil.example")


async def reply(store: Store, sender: str, signer: str | None, subject: str = "Re: [C-1] Klacht") -> bool:
    """Whether the case was answered by this mail."""
    content = (
        f"From: {sender}\r\nTo: abuse@returns.example\r\nSubject: {subject}\r\nDate: Mon, 1 Jun 2026 12:00:00 +0000\r\n"
        "Message-ID: <1@shop.example>\r\n\r\nThe form was wrong.\r\n"
    ).encode()
    if signer:
        content = NAMES.sign(content, signer)
    inbound = await rig.arrive(store, content, f"abuse@{rig.DOMAIN}")
    before = (await store.cases.show(1)).case.answered_at
    await rig.processor(store, NAMES).handle(inbound)
    return (await store.cases.show(1)).case.answered_at != before


@pytest.fixture
async def told(store: Store) -> Store:
    """With a case of which its account was told; its contact has an address at a provider of many."""
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, domains=["shop.example"], verified=True)
    await make.execute(store, "update account set contact = 'Ann, ann@freemail.example' where id = $1", account.id)
    await store.accounts.list()
    await store.cases.open(Complaint(account.id, Source.RECIPIENT, "nooit aangemeld"))
    await run_deadlines(await ComplaintNotifier.open(Settings(), store), store)
    return store


@pytest.mark.parametrize(
    ("sender", "signer"), [("ann@freemail.example", "freemail.example"), ("Bob <bob@shop.example>", "shop.example")]
)
async def test_a_signed_answer_stops_the_clock(told: Store, sender: str, signer: str) -> None:
    assert await reply(told, sender, signer)
    case, history = (seen := await told.cases.show(1)).case, seen.history
    assert (case.state.value, case.due_at) == ("answered", None)
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


async def test_an_answer_to_a_closed_case_changes_nothing(told: Store) -> None:
    await make.execute(told, "update complaint_case set state = 'closed'")
    assert not await reply(told, "bob@shop.example", "shop.example")
