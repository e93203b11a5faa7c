"""``mta account`` beyond making one: its life, its papers, its logins, as an operator goes through them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mta.cli.options import operator as user
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import Account, Grant, Stream
from tests.unit.mta.cli.shell import Operator
from tests.unit.mta.store import make


@pytest.fixture
async def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    """With an active account ``shop``."""
    operator = Operator(tmp_path, database_url, secrets)
    await operator.says("account", "add", "shop", "--domain", "example.com", "--approve", "our own", "--verified")
    return operator


async def shop(store: Store) -> Account:
    await store.accounts.refresh()  # commands are other processes
    return (await store.accounts.find("shop")).account


async def test_who_suspended_it_when_and_why_is_told(operator: Operator, store: Store) -> None:
    account = await shop(store)
    await store.messages.enqueue(make.accepted("a@one.example", account_id=account.id), leased=False)
    told = await operator.says("account", "suspend", "shop", "--reason", "complaints", "--case", "C-17")
    assert told == "Account shop suspended; 1 queued recipients held.\n"
    shown = await operator.json("account", "show", "shop")
    assert (shown["status"], shown["reason"], shown["case"]) == ("suspended", "complaints", "C-17")
    assert "suspended: complaints" in await operator.says("account", "show", "shop")
    assert "1 held recipients released" in await operator.says("account", "resume", "shop", "--reason", "settled")
    history = await operator.says("account", "history", "shop")
    assert "active -> suspended: complaints (case C-17); 1 queued recipients" in history
    resumed, suspended = await operator.json("account", "history", "shop", "--limit", "2")
    assert (suspended["by"], suspended["kind"], suspended["data"]["to"]) == (user(), "status", "suspended")
    assert resumed["data"]["reason"] == "settled"


async def test_an_end_for_good_is_asked_for_twice(operator: Operator, store: Store) -> None:
    assert await operator.fails("account", "terminate", "shop", "--reason", "spam", "--yes") == (
        "terminate: it is active; what can be done is: suspend\n"
    )
    await operator.says("account", "suspend", "shop", "--reason", "spam")
    await operator.fails("account", "terminate", "shop", "--reason", "spam")  # no one there to say yes
    said = await operator.says("account", "terminate", "shop", "--reason", "spam", "--dry-run")
    assert said == "Account shop would be terminated; 0 queued recipients would be bounced.\n"
    assert (await shop(store)).status.value == "suspended"
    assert "shop terminated" in await operator.says("account", "terminate", "shop", "--reason", "spam", "--yes")
    assert "for good" in await operator.fails("account", "resume", "shop")


async def test_a_review_may_send_the_account_back(operator: Operator) -> None:
    await operator.says("account", "add", "other", "--domain", "example.net")
    said = await operator.fails("account", "review", "other")
    assert "  no contact is named: mta account set other --contact ADDRESS\n" in said
    await operator.says("account", "review", "other", "--force")
    assert "Account other pending again: no papers" in await operator.says(
        "account", "request-changes", "other", "--reason", "no papers"
    )
    assert "it is pending; what can be done is: review, terminate" in await operator.fails(
        "account", "approve", "other"
    )


async def test_settings_are_checked_and_kept(operator: Operator, store: Store) -> None:
    told = await operator.says(
        "account", "set", "shop", "--profile", "cleverreach", "--contact", "Ann", "--quota-day", "10", "--adult"
    )
    assert told.splitlines() == [
        "shop: profile set to cleverreach",
        "shop: contact set to Ann",
        "shop: quota_day set to 10",
        "shop: adult_agreed set to True",
    ]
    await operator.says("account", "set", "shop", "--quota-day", "-1")
    account = await shop(store)
    assert (account.profile, account.contact, account.quotas.day, account.adult_agreed) == (
        "cleverreach", "Ann", None, True,
    )  # fmt: skip
    said = await operator.fails("account", "set", "shop", "--profile", "nonsense", status=2)
    assert said.startswith("there is no profile 'nonsense'; available: ")
    assert "nothing to change" in await operator.fails("account", "set", "shop", status=2)
    await operator.says("account", "set", "shop", "--weight", "30", "--max-priority", "6")
    account = await shop(store)
    assert (account.weight, account.max_priority) == (30, 6)
    assert "a weight is a number from 1 to 1000, not 0" in await operator.fails(
        "account", "set", "shop", "--weight", "0"
    )
    assert "a priority is a number from -9 to 9 (RFC 6710), not 10" in await operator.fails(
        "account", "set", "shop", "--max-priority", "10"
    )
    assert "a quota is" in await operator.fails("account", "set", "shop", "--quota-month", "-7")


async def test_the_papers_of_a_review(operator: Operator, store: Store) -> None:
    assert "Version 1 of the terms accepted" in await operator.says("account", "terms", "shop", "--by", "Ann Jansen")
    other = "account", "terms", "shop", "--by", "Ann Jansen", "--version", "0.9"
    assert "in force are version '1', not '0.9'" in await operator.fails(*other, status=2)
    await operator.says(
        "account", "identity", "set", "shop", "nl", "--name", "Shop B.V.", "--name", "De Winkel", "--city", "Amsterdam"
    )
    (identity,) = await operator.json("account", "identity", "list", "shop")
    assert (identity["language"], identity["names"], identity["city"]) == (
        "nl",
        ["Shop B.V.", "De Winkel"],
        "Amsterdam",
    )
    assert "Shop B.V., De Winkel" in await operator.says("account", "identity", "list", "shop")
    assert "a language is written as" in await operator.fails(
        "account", "identity", "set", "shop", "Dutch", "--name", "x"
    )
    await operator.says("account", "source", "add", "shop", "offers", "--origin", "the form on our site")
    assert "was not told yet" in await operator.fails("account", "source", "approve", "shop", "others")
    await operator.says("account", "source", "approve", "shop", "offers")
    (source,) = await operator.json("account", "source", "list", "shop")
    assert (source["name"], source["origin"], source["approved_by"]) == ("offers", "the form on our site", user())
    assert (await shop(store)).lists == {"offers"}
    await operator.says("account", "identity", "remove", "shop", "nl", "--yes")
    assert "No identity" in (await operator.run("account", "identity", "list", "shop")).stderr


async def test_role_addresses_come_and_go(operator: Operator, store: Store) -> None:
    await operator.says("account", "role", "add", "shop", "Invoices@example.net")
    await operator.says("account", "role", "add", "shop", "info@example.net")
    await operator.says("account", "role", "remove", "shop", "invoices@Example.NET", "--yes")
    assert (await shop(store)).role_exceptions == {"info@example.net"}
    assert "is not among the role addresses" in await operator.fails(
        "account", "role", "remove", "shop", "x@example.net", "--yes"
    )
    assert "needs an @" in await operator.fails("account", "role", "add", "shop", "nobody", status=2)


async def test_a_credential_has_a_scope_that_can_be_changed(operator: Operator, store: Store) -> None:
    scope = ("--stream", "transactional", "--domain", "Example.COM", "--rate", "5", "--burst", "50")
    await operator.says("account", "credential", "add", "shop", "--username", "app", *scope)
    await store.accounts.list()
    assert store.accounts.grant("app") == Grant(frozenset({Stream.TRANSACTIONAL}), frozenset({"example.com"}), 5.0, 50)
    listed = await operator.json("account", "credential", "list", "shop")
    assert listed[0] == {
        "username": "app", "revoked_at": None, "streams": ["transactional"], "domains": ["example.com"],
        "rate": 5.0, "burst": 50, "purposes": [], "signs": [],
    }  # fmt: skip
    assert await operator.says("account", "credential", "scope", "app", "--rate", "7") == (
        "Scope of app changed: what the profile is for, 7/s.\n"
    )
    said = await operator.fails("account", "credential", "scope", "app", "--domain", "example.org")
    assert said == "example.org is not a domain of this account; add it first\n"
    assert "a rate is" in await operator.fails("account", "credential", "scope", "app", "--rate", "0")
    assert "there is no credential 'nobody'" in await operator.fails("account", "credential", "scope", "nobody")


async def test_a_credential_is_replaced_without_a_gap(operator: Operator, store: Store) -> None:
    await operator.says("account", "credential", "scope", "shop", "--rate", "5")
    made = await operator.json("account", "credential", "rotate", "shop", "--overlap", "2d")
    assert made["username"] == "shop-2"
    assert len(made["secret"]) == 32
    await store.accounts.refresh()
    details = await store.accounts.find("shop")
    old, new = details.credentials
    assert old.revoked_at is not None
    assert timedelta(days=1, hours=23) < old.revoked_at - make.now() < timedelta(days=2)
    assert new.grant == old.grant == Grant(rate=5.0)
    assert store.accounts.by_credential("shop") is not None
    assert "expires" in await operator.says("account", "credential", "list", "shop")
    await operator.says("account", "credential", "rotate", "shop-2", "--overlap", "0", "--username", "app")
    await store.accounts.list()
    assert store.accounts.by_credential("shop-2") is None
    assert store.accounts.by_credential("app") is not None
    assert "there is no credential 'shop-2'" in await operator.fails("account", "credential", "rotate", "shop-2")
    for odd in ("5", "1w", "-1h", ""):
        said = await operator.fails("account", "credential", "rotate", "app", "--overlap", odd, status=2)
        assert "is not a duration" in said


async def test_transactional_mail_beside_marketing_is_granted_after_a_review(operator: Operator, store: Store) -> None:
    await operator.says("account", "set", "shop", "--profile", "cleverreach")
    wanted = ("account", "credential", "scope", "shop", "--stream", "transactional")
    reviewed = ("--purpose", "order: Your order *")
    assert "after a review" in await operator.fails(*wanted, status=2)
    assert "after a review" in await operator.fails(*wanted, *reviewed, status=2)
    assert "for a reason" in await operator.fails(*wanted, *reviewed, "--allow-sign", "list_id", status=2)
    assert "no sign 'x'" in await operator.fails(*wanted, "--allow-sign", "x", status=2)
    assert "would fit any subject" in await operator.fails(*wanted, "--purpose", "all: *", status=2)
    said = await operator.says(*wanted, *reviewed, "--allow-sign", "list_id", "--reason", "templates seen")
    assert said == "Scope of shop changed: transactional (order: Your order *), may show list_id.\n"
    (listed,) = await operator.json("account", "credential", "list", "shop")
    assert (listed["purposes"], listed["signs"]) == (["order: Your order *"], ["list_id"])
