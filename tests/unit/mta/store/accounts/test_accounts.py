"""Accounts: changed in the database, answered from memory, fresh in every process."""

from __future__ import annotations

import ipaddress

import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.mail.address import AddressError
from mta.store.accounts.accounts import AccountError, Accounts
from mta.store.accounts.reviews import Setting
from mta.store.postgres.database import Database
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from tests.unit.mta.store import make

IP = ipaddress.ip_address
NET = ipaddress.ip_network


async def test_a_new_account_answers_at_once(store: Store) -> None:
    account = await store.accounts.add(
        "acme", domains=["Acme.Example", "bücher.example"], networks=[NET("10.1.0.0/16")], verified=True
    )
    assert account.domains == {"acme.example", "xn--bcher-kva.example"}
    assert store.accounts.by_id(account.id) == account
    assert store.accounts.by_network(IP("10.1.2.3")) == account
    assert store.accounts.by_network(IP("::ffff:10.1.2.3")) == account
    assert store.accounts.by_network(IP("10.2.0.1")) is None


async def test_the_narrowest_network_counts(store: Store) -> None:
    wide = await store.accounts.add("wide", networks=[NET("10.0.0.0/8"), NET("2001:db8::/32")])
    narrow = await store.accounts.add("narrow", networks=[NET("10.9.0.0/16"), NET("2001:db8:9::/48")])
    for text, expected in [("10.1.1.1", wide), ("10.9.1.1", narrow), ("2001:db8::1", wide), ("2001:db8:9::1", narrow)]:
        assert store.accounts.by_network(IP(text)) == expected


async def test_a_credential_works_until_it_is_revoked_and_its_name_is_never_given_again(store: Store) -> None:
    account = await store.accounts.add("acme")
    await store.credentials.add(account.id, "acme-1", argon2="hash", scram="verifier")
    found = store.accounts.by_credential("acme-1")
    assert found
    assert (found.account, found.argon2, found.scram) == (account, "hash", "verifier")
    assert "hash" not in repr(found)
    await store.credentials.revoke("acme-1")
    assert store.accounts.by_credential("acme-1") is None
    with pytest.raises(AccountError, match="used before"):
        await store.credentials.add(account.id, "acme-1", argon2="other", scram="other")
    with pytest.raises(AccountError, match="revoked before"):
        await store.credentials.revoke("acme-1")
    (details,) = await store.accounts.list()
    assert [(each.username, each.revoked_at is not None) for each in details.credentials] == [("acme-1", True)]


async def test_what_belongs_to_one_account_cannot_be_given_to_another(store: Store) -> None:
    acme = await store.accounts.add("acme", domains=["acme.example"], networks=[NET("10.1.0.0/16")])
    other = await store.accounts.add("other")
    with pytest.raises(AccountError, match=r"acme\.example belongs to the account 'acme'"):
        await store.domains.add(other.id, "ACME.example")
    with pytest.raises(AccountError, match=r"10\.1\.0\.0/16 belongs to the account 'acme'"):
        await store.accounts.add_network(other.id, NET("10.1.0.0/16"))
    with pytest.raises(AccountError, match="already"):
        await store.accounts.add("acme")
    await store.domains.remove(acme.id, "acme.example")
    await store.domains.add(other.id, "acme.example")
    assert store.accounts.by_id(other.id).unverified == {"acme.example"}  # type: ignore[union-attr]


async def test_an_account_that_is_refused_leaves_nothing_behind(store: Store) -> None:
    await store.accounts.add("acme", domains=["acme.example"])
    with pytest.raises(AccountError):
        await store.accounts.add("other", domains=["new.example", "acme.example"])
    assert [each.account.name for each in await store.accounts.list()] == ["acme"]


@pytest.mark.parametrize("name", ["", " acme", "a\nb", "x" * 65])
async def test_odd_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(AccountError, match="printable characters"):
        await store.accounts.add(name)


async def test_other_mistakes_say_what_is_wrong(store: Store) -> None:
    account = await store.accounts.add("acme")
    with pytest.raises(AddressError):
        await store.domains.add(account.id, "not a domain")
    with pytest.raises(AccountError, match="there is no account 999"):
        await store.domains.add(999, "new.example")
    with pytest.raises(AccountError, match="there is no account 999"):
        await store.accounts.add_network(999, NET("10.0.0.0/8"))
    with pytest.raises(AccountError, match="there is no account 999"):
        await store.credentials.add(999, "x", argon2="", scram="")
    with pytest.raises(AccountError, match="notifications are"):
        await store.reviews.set(account.id, {Setting.BOUNCE_NOTIFICATIONS: "loud"})
    with pytest.raises(AccountError, match="no account 'none'"):
        await store.accounts.find("none")


async def test_other_processes_see_a_change_when_it_is_announced(
    store: Store, database_url: str, database_settings: DatabaseSettings, secrets: Secrets
) -> None:
    other = await Store.open(database_url, database_settings, secrets)
    try:
        account = await store.accounts.add("acme")
        await make.until(lambda: other.accounts.by_id(account.id))
        await store.reviews.set(account.id, {Setting.BOUNCE_NOTIFICATIONS: "none"})
        await make.until(lambda: other.accounts.by_id(account.id).bounce_notifications == "none")  # type: ignore[union-attr]
    finally:
        await other.close()


async def test_a_look_up_by_name_reads_only_what_may_be_new(
    store: Store,
    database_url: str,
    database_settings: DatabaseSettings,
    secrets: Secrets,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme = await store.accounts.add("acme")
    reads, refresh = [], store.accounts.refresh

    async def counted() -> None:
        reads.append(1)
        await refresh()

    monkeypatch.setattr(store.accounts, "refresh", counted)
    assert (await store.accounts.find("acme")).account == acme
    assert await store.accounts.names_by_id() == {acme.id: "acme"}
    assert reads == []
    other = await Store.open(database_url, database_settings, secrets)
    try:
        new = await other.accounts.add("new")
    finally:
        await other.close()
    assert (await store.accounts.find("new")).account == new


async def test_accounts_that_were_never_read_are_unavailable_not_unknown(database_settings: DatabaseSettings) -> None:
    accounts = Accounts(Database("postgresql://nobody@/none?host=/nowhere", database_settings))
    await accounts.start()
    for question in (accounts.by_id, accounts.by_credential, accounts.by_network):
        with pytest.raises(StoreUnavailable):
            question(IP("10.0.0.1"))  # type: ignore[operator]
    await accounts.stop()
