"""Letters about complaints as mail: to the account's contact, signed, as the service's own."""

from __future__ import annotations

import email
from email import policy as mail_policy
from email.message import EmailMessage
from typing import Any

import pytest

from config.schema import Settings
from mta.service.jobs.complaints import open_notifier, run_deadlines
from mta.store.store import Store
from policy.accounts.account import SERVICE_ACCOUNT, Account, AccountStatus, Identity
from policy.reputation.complaint import Clocks, Complaint, Source
from policy.reputation.complaint_mail import contacts_of
from tests.unit.mta.store import make

SETTINGS = Settings.model_validate(
    {"server": {"hostname": "mta.example"}, "return_path": {"domain": "returns.example"}}
)


async def an_account(store: Store, **more: Any) -> int:
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE, profile="spotler")
    await make.execute(
        store,
        "update account set contact = $2 where id = $1",
        account.id,
        more.get("contact", "Ann <ann@shop.example>"),
    )
    identity = '{"names": ["Shop BV"], "email": "office@shop.example"}'
    await make.execute(store, "insert into account_identity values ($1, 'nl', $2)", account.id, identity)
    await store.accounts.list()
    return account.id


async def letters(store: Store) -> list[EmailMessage]:
    async with store._database.session() as connection:
        rows = await connection.fetch(
            "select m.id from message m join queue q on q.message_id = m.id where m.account_id = $1 order by m.id",
            SERVICE_ACCOUNT,
        )
    return [
        email.message_from_bytes(await store.messages.content(row["id"]), policy=mail_policy.default) for row in rows
    ]


async def test_the_contact_is_told_in_its_language_with_the_dossier(store: Store) -> None:
    account_id = await an_account(store)
    await store.cases.open(
        Complaint(account_id, Source.RECIPIENT, "nooit aangemeld", address="rita@example.net", address_key=bytes(16))
    )
    await run_deadlines(await open_notifier(SETTINGS, store), store)
    (mail,) = await letters(store)
    assert (mail["To"], mail["From"], mail["Auto-Submitted"], mail["Content-Language"]) == (
        "ann@shop.example", "abuse@returns.example", "auto-generated", "nl",
    )  # fmt: skip
    assert mail["Subject"].startswith("[C-1] Klacht: graag uw antwoord vóór ")
    body = mail.get_body()
    assert body is not None
    assert "rita@example.net" in body.get_content()
    assert [(each.get_filename(), each.get_content_type()) for each in mail.iter_attachments()] == [
        ("C-1.pdf", "application/pdf"), ("C-1.json", "application/json"),
    ]  # fmt: skip
    row = await make.row(store, "select sender, record->'envelope'->>'body' as body from message")
    assert (row["sender"], row["body"]) == (None, "7BIT")


async def test_it_is_written_to_even_while_it_is_suspended(store: Store) -> None:
    account_id = await an_account(store)
    await store.cases.open(Complaint(account_id, Source.PROVIDER, "spam", urgent=True))
    await run_deadlines(await open_notifier(SETTINGS, store), store)
    assert (await store.accounts.find("shop")).account.status is AccountStatus.SUSPENDED
    assert await make.count(store, f"queue where account_id = {SERVICE_ACCOUNT} and holds = 0") == 1


async def test_nobody_to_write_to(store: Store) -> None:
    account_id = await an_account(store, contact="by telephone")
    await make.execute(store, "delete from account_identity")
    await store.accounts.list()
    await store.cases.open(Complaint(account_id, Source.PROVIDER, "spam"))
    await run_deadlines(await open_notifier(SETTINGS, store), store)
    assert await letters(store) == []
    assert await make.count(store, "complaint_case where state = 'sent' and due_at is not null") == 1


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("Ann Lee <ann@shop.example>", "ann@shop.example"),
        ("ann@shop.example", "ann@shop.example"),
        ("Ann Lee, ann@shop.example; +31 20 1234567", "ann@shop.example"),
        ("Ann, by telephone", "office@shop.example"),
        ("", "office@shop.example"),
    ],
)
def test_whom_to_write_to(contact: str, expected: str) -> None:
    identities = (Identity("de", ("A",)), Identity("nl", ("B",), email="office@shop.example"))
    assert str(contacts_of(Account(1, "a", frozenset(), contact=contact, identities=identities))[0]) == expected


async def test_a_profile_that_is_gone_stops_no_clock(store: Store) -> None:
    desk = await open_notifier(SETTINGS, store)
    assert desk.clocks("gone") == Clocks()
    assert desk.clocks("spotler").answer_within == 24 * 3600
