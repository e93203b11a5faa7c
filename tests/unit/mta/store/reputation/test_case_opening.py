"""Opening cases: once for one thing, with what the ledger says, in the caller's transaction."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import orjson
import pytest

from mta.demo.account import opt_in
from mta.mail.address import Address
from mta.mail.identity import new_message_id
from mta.store.mailings.references import NewReference
from mta.store.permission import suppression_writer
from mta.store.postgres.secrets import Secrets
from mta.store.reputation.cases import CaseError, open_case
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.permission.consent import EVERY_TOPIC
from policy.permission.suppression import Reason
from policy.reputation.complaint import EVIDENCE, Complaint, Source
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")


async def account(store: Store, name: str = "shop", **more: Any) -> int:
    return (await store.accounts.add(name, status=AccountStatus.ACTIVE, profile="spotler", **more)).id


async def opened(store: Store, complaint: Complaint) -> int:
    """In a transaction of its own."""
    return await store._database.retried(lambda connection: open_case(connection, complaint))


async def test_a_complaint_about_the_same_is_added_to_its_case(store: Store, secrets: Secrets) -> None:
    account_id = await account(store)
    key = secrets.address_key(ANN)
    first = Complaint(account_id, Source.FEEDBACK_LOOP, "spam", "m1", str(ANN), key, evidence=b"one")
    case = await opened(store, first)
    for _ in range(30):
        assert await opened(store, first) == case
    assert await opened(store, Complaint(account_id, Source.RECIPIENT, "spam", "m1", str(ANN), key)) != case
    assert await opened(store, Complaint(account_id, Source.FEEDBACK_LOOP, "spam", "m2", str(ANN), key)) != case
    assert await make.count(store, "complaint_case") == 3
    row = await make.row(store, "select complaints, profile, state::text from complaint_case where id = $1", case)
    assert dict(row) == {"complaints": 31, "profile": "spotler", "state": "open"}
    assert await make.count(store, f"case_event where case_id = {case} and kind = 'complaint'") == 30
    assert await make.count(store, f"case_event where case_id = {case} and evidence is not null") == 20


async def test_nobody_in_particular_about_nothing_in_particular_is_one_case_too(store: Store) -> None:
    account_id = await account(store)
    listed = Complaint(account_id, Source.BLOCKLIST, "192.0.2.1 is listed")
    assert await opened(store, listed) == await opened(store, listed)
    other = await account(store, "club")
    assert await opened(store, Complaint(other, Source.BLOCKLIST, "192.0.2.1 is listed")) != 1


async def test_a_closed_case_is_not_added_to(store: Store) -> None:
    complaint = Complaint(await account(store), Source.PROVIDER, "stop it")
    first = await opened(store, complaint)
    await make.execute(store, "update complaint_case set state = 'closed' where id = $1", first)
    assert await opened(store, complaint) == first + 1


async def test_what_is_urgent_begins_a_known_case_anew(store: Store) -> None:
    account_id = await account(store)
    case = await opened(store, Complaint(account_id, Source.PROVIDER, "spam"))
    await make.execute(store, "update complaint_case set state = 'agreed'")
    assert await opened(store, Complaint(account_id, Source.PROVIDER, "spam again")) == case
    assert await make.count(store, "complaint_case where state = 'agreed' and not urgent") == 1
    assert await opened(store, Complaint(account_id, Source.PROVIDER, "a flood of it", urgent=True)) == case
    assert await make.count(store, "complaint_case where state = 'open' and urgent") == 1
    await make.execute(store, "update complaint_case set state = 'suspended'")
    await opened(store, Complaint(account_id, Source.PROVIDER, "still", urgent=True))
    assert await make.count(store, "complaint_case where state = 'suspended'") == 1


async def test_the_consent_as_the_ledger_has_it_is_kept(store: Store, secrets: Secrets) -> None:
    account_id, other = await account(store), await account(store, "club")
    for owner in (account_id, other):
        await store.consents.record(owner, [opt_in(str(ANN), host="shop.example")], by="test")
    key = secrets.address_key(ANN)
    await opened(store, Complaint(account_id, Source.RECIPIENT, "never asked", None, None, key))
    dossier = orjson.loads((await make.row(store, "select dossier from complaint_case"))["dossier"])
    assert dossier["account"] == "shop"
    assert [each["kind"] for each in dossier["entries"]] == ["given"]
    assert dossier["consents"][0]["basis"] == "double_opt_in"


async def test_what_was_confirmed_is_kept_with_the_case(store: Store, secrets: Secrets) -> None:
    account_id = await account(store)
    mailing = await store.mailings.add(account_id, "june", topic="offers", list="customers", by="ann")
    pages = [
        {
            "url": "https://shop.example/u",
            "fault": "",
            "seen": "one click",
            "rule": "unsubscribe",
            "shape": "",
            "at": "2026-11-30T12:00:00+00:00",
        }
    ]
    shown = NewReference(1, b"Subject: June\r\n\r\nHi\r\n", b"", evidence={"pages": pages})
    await store.mailings.confirm(mailing.id, by="A. Baker", terms="1", messages=[shown])
    key = secrets.address_key(ANN)
    await opened(store, Complaint(account_id, Source.RECIPIENT, "never asked", mailing.id, None, key))
    dossier = orjson.loads((await make.row(store, "select dossier from complaint_case"))["dossier"])
    (ticked,) = dossier["confirmed"]
    assert ticked["sha256"] == shown.digest.hex()
    assert (ticked["reference"], ticked["by"], ticked["terms"], ticked["pages"]) == (1, "A. Baker", "1", pages)


async def test_whatever_a_complaint_contains_fits(store: Store) -> None:
    odd = "\x00\ud800 " + "x" * 10_000
    case = await opened(
        store,
        Complaint(
            await account(store), Source.RECIPIENT, odd, evidence=b"\x00" * 100_000, message_id=new_message_id(), by="a"
        ),
    )
    row = await make.row(store, "select length(evidence) as n from case_event where case_id = $1", case)
    assert row["n"] == EVIDENCE


async def test_no_account_no_case_and_nothing_is_left_of_a_transaction_that_fails(store: Store) -> None:
    with pytest.raises(CaseError, match="no account 77"):
        await opened(store, Complaint(77, Source.PROVIDER, "spam"))
    assert await make.count(store, "complaint_case") == 0


async def test_only_accounts_with_a_webhook_have_events(store: Store) -> None:
    account_id = await account(store)
    await opened(store, Complaint(account_id, Source.PROVIDER, "spam"))
    assert await make.count(store, "outbox") == 0
    await make.execute(
        store, "insert into webhook (account_id, url, sealed) values ($1, 'https://x.example', '')", account_id
    )
    await opened(store, Complaint(account_id, Source.REGULATOR, "spam"))
    row = await make.row(store, "select kind, data from outbox")
    assert row["kind"] == "case_opened"
    assert orjson.loads(row["data"])["case"] == "C-2"


async def test_a_case_and_its_suppression_are_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    account_id, suppressions = await account(store), store.suppressions
    await store.consents.record(account_id, [opt_in(str(ANN), host="shop.example")], by="test")
    complaint = Complaint(account_id, Source.RECIPIENT, "spam", None, str(ANN), suppressions.key(ANN))
    suppress = suppressions.act(account_id, ANN, Reason.COMPLAINT, topic=EVERY_TOPIC)
    with monkeypatch.context() as broken:
        broken.setattr(suppression_writer, "write", AsyncMock(side_effect=RuntimeError("a fault")))
        with pytest.raises(RuntimeError, match="a fault"):
            await store.cases.open(complaint, suppress)
    assert await make.count(store, "complaint_case") == 0
    number = await store.cases.open(complaint, suppress)
    (suppressed,) = await suppressions.find(account_id, [ANN])
    assert (suppressed.reason, suppressed.detail) == (Reason.COMPLAINT, f"complaint C-{number}")
    dossier = (await store.cases.show(number)).case.dossier
    assert dossier is not None
    assert [each["state"] for each in dossier["consents"]] == ["holds"], "as it was before"
    assert await store.cases.open(complaint) == number
