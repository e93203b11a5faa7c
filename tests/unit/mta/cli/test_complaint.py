"""``mta complaint`` against a real database: opened, answered, judged, and exported with what it cost."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path

import pytest

from mta.cli.context import load_settings
from mta.demo.account import opt_in
from mta.service.jobs.complaints import open_notifier
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make

HOUR = timedelta(hours=1)


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    operator = Operator(tmp_path, database_url, secrets)
    for name in ("shop", "club"):
        await operator.says("account", "add", name, "--domain", f"{name}.example", "--profile", "spotler")
    return operator


@pytest.fixture
async def shop(operator: Operator, store: Store) -> Operator:
    """With an active account that has a contact."""
    await make.execute(store, "update account set status = 'active', contact = 'Ann <ann@shop.example>'")
    await store.accounts.list()
    return operator


async def ring(operator: Operator, store: Store, hours: float = 0) -> None:
    """What the service does, with its clock moved."""
    desk = await open_notifier(load_settings(operator.config), store)
    row = await make.row(store, "select now() as now")
    await store.cases.clocks.ring(desk, row["now"] + hours * HOUR)


async def opened(operator: Operator, *words: str) -> str:
    number: str = (await operator.json("complaint", "open", "--account", "shop", "--summary", "never asked", *words))[
        "case"
    ]
    return number


async def test_from_the_complaint_to_the_end(shop: Operator, store: Store) -> None:
    case = await opened(shop, "--recipient", "rita@example.net")
    assert "has not been told" in await shop.fails("complaint", "answer", case, "--text", "sorry")
    await ring(shop, store)
    told = await shop.says("complaint", "show", case)
    assert "state      sent" in told
    assert "(in 24.0 h)" in told
    assert "mta complaint answer C-1 --text" in told
    assert "has not been answered" in await shop.fails("complaint", "accept", case, "--text", "x")
    await shop.says("complaint", "answer", "1", "--text", "The form was wrong", "--by", "ann")
    assert "stopped with 24.0 h left" in await shop.says("complaint", "show", case)
    assert "C-1 answer rejected; state: sent. Due" in await shop.says(
        "complaint", "reject", case, "--reason", "which form?"
    )
    await shop.says("complaint", "answer", case, "--text", "The one in the shop")
    await shop.says("complaint", "accept", case, "--text", "double opt-in from now on")
    await shop.says("complaint", "note", case, "Rita was called")
    assert "Upheld cases of shop within the profile's period: 1" in await shop.says(
        "complaint", "close", case, "--upheld"
    )
    assert (await shop.run("complaint", "list")).stderr == "No such cases.\n"
    (closed,) = await shop.json("complaint", "list", "--all")
    assert (closed["state"], closed["upheld"]) == ("closed", True)
    history = (await shop.json("complaint", "show", case))["history"]
    assert [each["kind"] for each in history] == [
        "opened", "sent", "answered", "rejected", "answered", "agreed", "note", "closed",
    ]  # fmt: skip
    assert history[2]["by"] == "ann"


async def test_an_unfounded_case_is_closed_without_an_answer(shop: Operator) -> None:
    case = await opened(shop)
    assert "state: closed" in await shop.says("complaint", "close", case, "--unfounded")


async def test_an_overdue_case_suspends_and_its_agreement_resumes(shop: Operator, store: Store) -> None:
    case = await opened(shop)
    await ring(shop, store)
    await make.put(store, account_id=(await store.accounts.find("shop")).account.id)
    await store.lease.release()
    await ring(shop, store, hours=25)
    (listed,) = await shop.json("complaint", "list", "--state", "suspended")
    assert listed["case"] == case
    assert "C-1 is open" in await shop.fails("account", "resume", "shop")
    await shop.says("complaint", "answer", case, "--text", "sorry")
    assert "1 held recipients released" in await shop.says("complaint", "accept", case, "--text", "done")


async def test_a_file_tells_whose_mailing_and_which_recipient(shop: Operator, store: Store, tmp_path: Path) -> None:
    made = await shop.json("mailing", "add", "shop", "june", "--topic", "offers", "--list", "customers")
    account = (await store.accounts.find("shop")).account
    await store.consents.record(account.id, [opt_in("rita@example.net", host="shop.example")], by="test")
    complaint = tmp_path / "complaint.eml"
    complaint.write_text(
        "From: Rita <r.other@example.net>\nSubject: Beschwerde\nContent-Type: multipart/mixed; boundary=b\n\n"
        "--b\n\nIch habe mich nie angemeldet.\n--b\nContent-Type: message/rfc822\n\n"
        f"Delivered-To: rita@example.net\nX-Mailing-ID: {made['id']}\nSubject: Offers\n\nBuy!\n--b--\n"
    )
    told = await shop.json("complaint", "open", "--file", str(complaint))
    assert (told["account"], told["mailing_name"], told["address"]) == ("shop", "june", "rita@example.net")
    assert told["summary"] == "Ich habe mich nie angemeldet."
    (consent,) = told["dossier"]["consents"]
    assert (consent["basis"], consent["state"]) == ("double_opt_in", "holds")
    (suppressed,) = await shop.json("suppression", "list", "--account", "shop")
    assert (suppressed["address"], suppressed["reason"], suppressed["topic"]) == ("rita@example.net", "complaint", "*")
    await shop.says("complaint", "show", "1", "--evidence", str(tmp_path / "kept"))
    assert (tmp_path / "kept/C-1.1.opened").read_bytes() == complaint.read_bytes()
    again = await shop.json("complaint", "open", "--file", str(complaint))
    assert (again["case"], again["complaints"]) == ("C-1", 2)


async def test_what_is_missing_or_wrong_is_said(shop: Operator, tmp_path: Path) -> None:
    for words, said in (
        (("open", "--summary", "x"), "which account is it about?"),
        (("open", "--account", "shop"), "what is the complaint?"),
        (("open", "--account", "shop", "--summary", "x", "--recipient", "nobody"), "nobody"),
        (("open", "--account", "shop", "--file", str(tmp_path / "none.eml")), "No such file"),
        (("show", "first"), "'first' is not a case number"),
        (("close", "1"), "--upheld or --unfounded"),
        (("answer", "1", "--text", " "), "--text must not be empty"),
        (("cost", "1", "fine", "many"), "'many' is not an amount"),
        (("cost", "1", "fine", "nan"), "not a plausible amount"),
        (("cost", "1", "fine", "5", "--currency", "euro"), "three capital letters"),
    ):
        assert said in await shop.fails("complaint", *words, status=2)
    assert "there is no case C-7" in await shop.fails("complaint", "show", "C-7")
    assert "there is no account 'none'" in await shop.fails("complaint", "open", "--account", "none", "--summary", "x")


async def test_an_end_of_the_account_is_not_a_slip(shop: Operator, store: Store) -> None:
    for n in range(5):
        case = await opened(shop, "--recipient", f"r{n}@example.net")
        await ring(shop, store)
        await shop.says("complaint", "answer", case, "--text", "sorry")
        if n < 4:
            await shop.says("complaint", "close", case, "--upheld")
    told = await shop.says("complaint", "close", case, "--upheld", "--dry-run")
    assert told.startswith("C-5 would be closed, and account shop terminated for good: it is upheld complaint number 5")
    assert "upheld complaint number 5" in await shop.fails("complaint", "close", case, "--upheld")
    assert "Account shop terminated" in await shop.says("complaint", "close", case, "--upheld", "--yes")
    await store.accounts.refresh()
    assert (await store.accounts.find("shop")).account.status.value == "terminated"


async def test_the_dossier_of_a_case_is_written_as_pdf(shop: Operator, tmp_path: Path) -> None:
    opened = ("complaint", "open", "--account", "shop", "--summary", "never asked")
    await shop.says(*opened, "--recipient", "ann@example.com")
    file = tmp_path / "dossier.pdf"
    await shop.says("complaint", "show", "C-1", "--pdf", str(file), "--language", "nl")
    assert file.read_bytes()[:5] == b"%PDF-"
    await shop.says(*opened)
    assert "C-2 has no dossier" in await shop.fails("complaint", "show", "C-2", "--pdf", str(file))


async def test_costs_and_impact_are_exported(shop: Operator, store: Store, tmp_path: Path) -> None:
    case = await opened(shop, "--urgent", "--recipient", "=cmd@example.net")
    await store.messages.enqueue(make.accepted(account_id=(await store.accounts.find("shop")).account.id), leased=False)
    await ring(shop, store)
    await shop.says("complaint", "cost", case, "delisting", "250")
    await shop.says("complaint", "cost", case, "an hour", "99.95")
    await shop.says("complaint", "cost", case, "fine", "1000", "--currency", "CHF")
    await ring(shop, store, hours=3)
    assert "cost       1000 CHF, 349.95 EUR" in await shop.says("complaint", "show", case)
    await shop.says("complaint", "export", "-o", str(tmp_path / "cases.csv"))
    (row,) = csv.DictReader((tmp_path / "cases.csv").read_text().splitlines())
    assert (row["case"], row["costs"], row["recipients_held"], row["recipients_bounced"]) == (
        "C-1", "1000 CHF, 349.95 EUR", "1", "1",
    )  # fmt: skip
    assert row["recipient"] == "'=cmd@example.net"
    lines = (await shop.says("complaint", "export", "--json", "--account", "shop")).splitlines()
    assert json.loads(lines[0])["impact"]["costs"] == {"EUR": "349.95", "CHF": "1000"}
    assert await shop.says("complaint", "export", "--json", "--since", "2100-01-01") == ""
