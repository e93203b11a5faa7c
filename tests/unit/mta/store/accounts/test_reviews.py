"""What a reviewer goes by is kept, reaches the rules, and is never changed without a trace."""

from __future__ import annotations

from typing import Any

import pytest

from mta.mail.address import Address
from mta.store.accounts.reviews import Setting
from mta.store.journal.account_changes import AccountError
from mta.store.store import Store
from policy.accounts.account import Account, Grant, Identity, QuotaLimits, Stream

NL = Identity(
    "nl", ("Shop B.V.", "De Winkel"), "Kade 1", "1011 AA", "Amsterdam", "Nederland", register="KvK", number="1"
)


@pytest.fixture
async def account(store: Store) -> Account:
    return await store.accounts.add("shop", domains=["shop.example"], verified=True, by="ann")


def known(store: Store, account: Account) -> Account:
    found = store.accounts.by_id(account.id)
    assert found
    return found


async def test_settings(store: Store, account: Account) -> None:
    wanted: dict[Setting, Any] = {
        Setting.PROFILE: "cleverreach", Setting.CONTACT: "Ann", Setting.QUOTA_DAY: 10, Setting.QUOTA_MONTH: 100,
        Setting.ADULT_AGREED: True, Setting.BOUNCE_NOTIFICATIONS: "event",
    }  # fmt: skip
    await store.reviews.set(account.id, wanted, by="ann")
    now = known(store, account)
    assert (now.profile, now.contact, now.quotas, now.adult_agreed, now.bounce_notifications) == (
        "cleverreach", "Ann", QuotaLimits(10, 100), True, "event",
    )  # fmt: skip
    await store.reviews.set(account.id, {Setting.QUOTA_DAY: None})
    assert known(store, account).quotas == QuotaLimits(None, 100)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        (Setting.BOUNCE_NOTIFICATIONS, "loud", "notifications are"),
        (Setting.QUOTA_DAY, -1, "a quota is"),
        (Setting.QUOTA_MONTH, 2**31, "a quota is"),
        (Setting.CONTACT, " ", "the contact: 1 to 1000"),
        (Setting.CONTACT, "x" * 1001, "the contact: 1 to 1000"),
    ],
)
async def test_odd_settings_are_refused(
    store: Store, account: Account, setting: Setting, value: object, words: str
) -> None:
    with pytest.raises(AccountError, match=words):
        await store.reviews.set(account.id, {setting: value})
    assert known(store, account) == account


async def test_terms(store: Store, account: Account) -> None:
    assert known(store, account).terms is None
    await store.reviews.accept_terms(account.id, "1", person="Ann Jansen", by="op")
    await store.reviews.accept_terms(account.id, "2", person="Bob", by="op")
    terms = known(store, account).terms
    assert terms
    assert (terms.version, terms.by) == ("2", "Bob")
    told = [each.data for each in await store.accounts.history(account.id) if each.kind.value == "terms"]
    assert [(each["version"], each["accepted by"]) for each in told] == [("1", "Ann Jansen"), ("2", "Bob")]


async def test_identities(store: Store, account: Account) -> None:
    english = Identity("en", ("Shop Ltd",), vat="GB1")
    for each in (NL, english):
        await store.reviews.set_identity(account.id, each)
    assert known(store, account).identities == (english, NL)
    await store.reviews.remove_identity(account.id, "en")
    assert known(store, account).identities == (NL,)
    with pytest.raises(AccountError, match="no identity in 'en'"):
        await store.reviews.remove_identity(account.id, "en")
    with pytest.raises(AccountError, match="a language is written as"):
        await store.reviews.set_identity(account.id, Identity("NL!", ("x",)))
    with pytest.raises(AccountError, match="needs a name"):
        await store.reviews.set_identity(account.id, Identity("nl", ()))


async def test_an_origin_that_is_told_anew_is_to_be_approved_anew(store: Store, account: Account) -> None:
    with pytest.raises(AccountError, match="was not told yet"):
        await store.reviews.approve_source(account.id, "offers", by="rev")
    await store.reviews.add_source(account.id, "offers", "the form")
    assert known(store, account).lists == frozenset()
    assert await store.reviews.approve_source(account.id, "offers", by="rev") == "the form"
    assert known(store, account).lists == {"offers"}
    await store.reviews.add_source(account.id, "offers", "bought")
    assert known(store, account).lists == frozenset()


async def test_role_addresses_are_kept_in_their_canonical_spelling(store: Store, account: Account) -> None:
    await store.reviews.set_roles(account.id, [Address.parse("Invoices@Example.NET")])
    assert known(store, account).role_exceptions == {"invoices@example.net"}


async def test_a_scope_reaches_the_sessions(store: Store, account: Account) -> None:
    narrow = Grant(frozenset({Stream.TRANSACTIONAL}), frozenset({"shop.example"}), 5.0, 20)
    await store.credentials.add(account.id, "shop-1", argon2="a", scram="s", grant=narrow)
    assert store.accounts.grant("shop-1") == narrow
    await store.credentials.set_grant("shop-1", Grant())
    assert store.accounts.grant("shop-1") == Grant()
    assert store.accounts.grant("nobody") is None


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        (Grant(frozenset()), "without a stream"),
        (Grant(rate=0.0), "a rate is"),
        (Grant(rate=float("nan")), "a rate is"),
        (Grant(burst=0), "a burst is"),
        (Grant(domains=frozenset({"other.example"})), r"other\.example is not a domain of this account"),
    ],
)
async def test_a_scope_wider_than_the_account_is_refused(
    store: Store, account: Account, grant: Grant, words: str
) -> None:
    with pytest.raises(AccountError, match=words):
        await store.credentials.add(account.id, "shop-1", argon2="a", scram="s", grant=grant)
    await store.credentials.add(account.id, "shop-1", argon2="a", scram="s")
    with pytest.raises(AccountError, match=words):
        await store.credentials.set_grant("shop-1", grant)
    assert store.accounts.grant("shop-1") == Grant()
