"""``mta account`` against a real database: the service knows at once what the operator has said."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from mta.smtp_server.auth.authenticator import ScramVerifier
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.cli.shell import Operator


@pytest.fixture
def operator(tmp_path: Path, database_url: str, secrets: Secrets) -> Operator:
    return Operator(tmp_path, database_url, secrets)


async def test_an_account_is_made_whole_and_its_secret_is_shown_once(operator: Operator, store: Store) -> None:
    told = await operator.says(
        "account", "add", "shop", "--domain", "example.com", "--domain", "Example.ORG", "--network", "10.1.2.0/24",
        "--approve", "our own", "--verified",
    )  # fmt: skip
    lines = dict(line.strip().split("  ", 1) for line in told.splitlines() if line.startswith("  "))
    secret = lines["secret"].strip()
    assert len(secret) == 32
    assert lines["sends for"].strip() == "example.com, example.org"
    assert "No DKIM key signs for example.com yet; create one with `mta dkim new example.com`." in told
    (details,) = await store.accounts.list()
    credential = store.accounts.by_credential("shop")
    assert credential is not None
    assert credential.account == details.account == store.accounts.by_network(ip_address("10.1.2.3"))
    assert credential.account.domains == {"example.com", "example.org"}
    assert credential.argon2.startswith("$argon2id$")
    assert ScramVerifier.parse(credential.scram).iterations >= 4096
    for words in (("account", "show", "shop"), ("account", "list"), ("account", "credential", "list", "shop")):
        assert secret not in await operator.says(*words) + str(await operator.json(*words))


async def test_for_machines(operator: Operator) -> None:
    made = await operator.json(
        "account",
        "add",
        "Shop & Co",
        "--domain",
        "example.com",
        "--bounce-notifications",
        "event",
        "--username",
        "app@example.com",
    )
    assert (made["name"], made["bounce_notifications"], made["username"]) == ("Shop & Co", "event", "app@example.com")
    assert made["unsigned_domains"] == ["example.com"]
    shown = await operator.json("account", "show", "Shop & Co")
    assert shown == {key: value for key, value in made.items() if key in shown}
    assert shown["credentials"] == [
        {
            "username": "app@example.com", "revoked_at": None, "streams": None,
            "domains": None, "rate": None, "burst": None, "purposes": [], "signs": [],
        }
    ]  # fmt: skip
    assert await operator.json("account", "list") == [shown]


async def test_a_domain_that_a_key_signs_for_is_not_complained_of(operator: Operator, store: Store) -> None:
    await operator.says("dkim", "new", "example.com", "--selector", "s1", "--algorithm", "ed25519")
    await operator.says("dkim", "activate", "example.com", "s1", "--force")
    told = await operator.says("account", "add", "shop", "--domain", "news.example.com", "--domain", "example.net")
    assert "signs for news.example.com" not in told
    assert "signs for example.net yet" in told


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["shop", "--domain", "example.net"], 1, "there is an account 'shop' already"),
        (["other", "--domain", "example.com"], 1, "belongs to the account 'shop'"),
        (["other", "--domain", "nodot"], 2, "at least two labels"),
        (["other", "--domain", "b.example", "--network", "10.0.0.0/8"], 1, "belongs to the account 'shop'"),
        (["other", "--domain", "b.example", "--username", "shop"], 1, "'shop' was used before"),
        (["other"], 2, "--domain example.com"),
        (["other", "--domain", "b.example", "--network", "10.0.0.1/8"], 2, "has host bits set"),
        (["other", "--domain", "b.example", "--network", "0.0.0.0/0"], 2, "too wide"),
        (["other", "--domain", "b.example", "--network", "2001::/16"], 2, "too wide"),
        (["other", "--domain", "b.example", "--bounce-notifications", "mail"], 2, "dsn"),
    ],
)
async def test_nothing_is_made_of_what_is_refused(
    operator: Operator, options: list[str], status: int, words: str
) -> None:
    await operator.says("account", "add", "shop", "--domain", "example.com", "--network", "10.0.0.0/8")
    assert words in await operator.fails("account", "add", *options, status=status)
    assert [account["name"] for account in await operator.json("account", "list")] == ["shop"]


async def test_domains_come_and_go(operator: Operator, store: Store) -> None:
    await operator.says("account", "add", "shop", "--domain", "example.com")
    told = await operator.says("account", "domain", "add", "shop", "news.example.com")
    assert "shop may send for news.example.com once the DNS has this record" in told
    assert '_imprimatur.news.example.com. IN TXT "imprimatur-verification=' in told
    assert "No DKIM key signs for news.example.com" in told
    told = await operator.says(
        "account", "domain", "add", "shop", "example.net", "--skip-verification", "--reason", "our own"
    )
    assert told.startswith("Domain example.net added; shop may send for it.")
    assert "would be removed" in await operator.says("account", "domain", "remove", "shop", "example.com", "--dry-run")
    assert "Domain example.com removed" in await operator.says(
        "account", "domain", "remove", "shop", "example.com", "--reason", "sold", "--yes"
    )
    (details,) = await store.accounts.list()
    assert (details.account.unverified, details.account.domains) == ({"news.example.com"}, {"example.net"})
    assert "is not a domain of shop" in await operator.fails(
        "account", "domain", "remove", "shop", "example.com", "--yes"
    )


async def test_networks_come_and_go(operator: Operator, store: Store) -> None:
    await operator.says("account", "add", "shop", "--domain", "example.com")
    await operator.says("account", "network", "add", "shop", "2001:db8::/48")
    await operator.says("account", "network", "add", "shop", "192.0.2.7")
    await operator.says("account", "network", "remove", "shop", "2001:db8::/48", "--yes")
    (details,) = await store.accounts.list()
    assert [str(network) for network in details.networks] == ["192.0.2.7/32"]
    assert "is not a network of this account" in await operator.fails(
        "account", "network", "remove", "shop", "10.0.0.0/8", "--yes"
    )


async def test_credentials_are_added_and_revoked_and_names_never_given_twice(operator: Operator, store: Store) -> None:
    await operator.says("account", "add", "shop", "--domain", "example.com")
    second = await operator.json("account", "credential", "add", "shop")
    assert second["username"] == "shop-2"
    assert "Credential shop revoked." in await operator.says("account", "credential", "revoke", "shop", "--yes")
    await store.accounts.list()
    assert store.accounts.by_credential("shop") is None
    assert store.accounts.by_credential("shop-2") is not None
    listed = await operator.json("account", "credential", "list", "shop")
    assert [(each["username"], each["revoked_at"] is None) for each in listed] == [("shop", False), ("shop-2", True)]
    assert "was used before" in await operator.fails("account", "credential", "add", "shop", "--username", "shop")
    assert "revoked before" in await operator.fails("account", "credential", "revoke", "shop", "--yes")
    assert (await operator.json("account", "credential", "add", "shop"))["username"] == "shop-3"


async def test_what_failures_cause_can_be_changed(operator: Operator) -> None:
    await operator.says("account", "add", "shop", "--domain", "example.com")
    said = await operator.says("account", "set", "shop", "--bounce-notifications", "none")
    assert said == "shop: bounce_notifications set to none\n"
    assert (await operator.json("account", "show", "shop"))["bounce_notifications"] == "none"


async def test_an_unknown_account_is_one_sentence(operator: Operator) -> None:
    for words in (
        ("show", "nobody"),
        ("set", "nobody", "--contact", "Ann"),
        ("domain", "add", "nobody", "example.com"),
        ("network", "add", "nobody", "10.0.0.0/8"),
        ("credential", "add", "nobody"),
    ):
        assert await operator.fails("account", *words) == "there is no account 'nobody'\n"


async def test_an_empty_list_says_what_to_do(operator: Operator) -> None:
    assert "mta account add" in (await operator.run("account", "list")).stderr


async def test_the_table_has_what_matters(operator: Operator) -> None:
    await operator.says("account", "add", "[shop]", "--domain", "example.com", "--network", "10.0.0.0/8")
    table = await operator.says("account", "list")
    assert all(word in table for word in ("[shop]", "example.com", "10.0.0.0/8", "pending", "(unverified)"))


async def test_a_database_that_is_away_is_one_sentence(tmp_path: Path, secrets: Secrets) -> None:
    operator = Operator(tmp_path, "postgresql://nobody@127.0.0.1:1/none", secrets)
    said = await operator.fails("account", "list")
    assert said.startswith("the database cannot be reached: ")
    assert said.count("\n") == 1


async def test_a_bad_domain_is_repeated(operator: Operator) -> None:
    for words in (["account", "add", "shop", "--domain", "a b"], ["account", "domain", "add", "shop", "a b"]):
        assert await operator.fails(*words, status=2) == "'a b': not a valid domain name\n"
