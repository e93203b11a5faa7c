"""An account answers about a case by mail: only if it is proved to be the account."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from bounce.abuse_mail import AbuseMailReader
from config.schema import Settings, SigningSettings
from mta.dkim import KeyRing, Signer
from mta.dkim.keys import Algorithm, new_pem, parse_key
from mta.dkim.records import record_text
from mta.mail.headers import Headers
from mta.reports import case_reply
from mta.service.jobs.complaints import Casework, work_cases
from mta.store.results.report_queue import Arrived
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import Complaint, Source
from tests.unit.mta.store import make

KEYS = {
    domain: parse_key(new_pem(Algorithm.ED25519), domain=domain, selector="s1", source="test")
    for domain in ("shop.example", "freemail.example", "evil.example")
}
READER = AbuseMailReader()


async def txt(name: str) -> list[str]:
    return [record_text(key) for domain, key in KEYS.items() if name == f"s1._domainkey.{domain}"]


RESOLVER: Any = SimpleNamespace(txt=txt)


def mail(sender: str, signer: str | None, subject: str = "Re: [C-1] Klacht") -> Arrived:
    content = (
        f"From: {sender}\r\nTo: abuse@returns.example\r\nSubject: {subject}\r\nDate: Mon, 1 Jun 2026 12:00:00 +0000\r\n"
        "Message-ID: <1@shop.example>\r\n\r\nThe form was wrong.\r\n"
    ).encode()
    if signer:
        ring = KeyRing([KEYS[signer]])
        content = Signer(SigningSettings(), ring).sign(content, Headers.split(content), signer) + content
    return Arrived(1, datetime.now(UTC), sender, (), "192.0.2.1", "x", content, 1)


@pytest.fixture
async def told(store: Store) -> Store:
    """With a case of which its account was told; its contact has an address at a provider of many."""
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, domains=["shop.example"], verified=True)
    await make.execute(store, "update account set contact = 'Ann, ann@freemail.example' where id = $1", account.id)
    await store.accounts.list()
    await store.cases.open(Complaint(account.id, Source.RECIPIENT, "nooit aangemeld"))
    await work_cases(await Casework.open(Settings(), store), store)
    return store


async def take(store: Store, arrived: Arrived) -> bool:
    return await case_reply.take(store, RESOLVER, arrived, READER.read(arrived.content, arrived.at))


@pytest.mark.parametrize(
    ("sender", "signer"), [("ann@freemail.example", "freemail.example"), ("Bob <bob@shop.example>", "shop.example")]
)
async def test_a_signed_answer_stops_the_clock(told: Store, sender: str, signer: str) -> None:
    assert await take(told, mail(sender, signer))
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
    assert not await take(told, mail(sender, signer, subject))
    assert (await told.cases.show(1)).case.state.value == "sent"


async def test_an_answer_to_a_closed_case_changes_nothing(told: Store) -> None:
    await make.execute(told, "update complaint_case set state = 'closed'")
    assert not await take(told, mail("bob@shop.example", "shop.example"))
