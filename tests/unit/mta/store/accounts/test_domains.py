"""Sender domains: looked for in turn, and what was found kept."""

from __future__ import annotations

import asyncio

import pytest

from mta.store.journal.account_changes import AccountChangeKind, AccountError
from mta.store.store import Store
from policy.accounts.account import Account, AccountStatus
from policy.accounts.sender_domain import CheckMark, CheckResult, DomainCheck
from tests.unit.mta.store import make

FIT = tuple(CheckResult(subject, CheckMark.GOOD, "as it should be") for subject in DomainCheck)


def but(subject: DomainCheck, mark: CheckMark) -> tuple[CheckResult, ...]:
    return tuple(CheckResult(each.subject, mark, "no") if each.subject is subject else each for each in FIT)


def known(store: Store, account: Account) -> Account:
    found = store.accounts.by_id(account.id)
    assert found
    return found


async def until_known(store: Store, account: Account, domain: str) -> None:
    """``record`` tells all processes; ours hears it a moment later."""
    await make.until(lambda: domain in known(store, account).domains)


async def test_a_domain_that_is_fit_becomes_usable_and_stays_so(store: Store) -> None:
    account = await store.accounts.add("shop", domains=["shop.example"])
    assert account.unverified == {"shop.example"}
    assert set(account.tokens) == {"shop.example"}
    assert not await store.domains.record(account.id, "shop.example", but(DomainCheck.SPF, CheckMark.BAD), by="dns")
    assert await store.domains.record(account.id, "shop.example", FIT, by="dns")
    await until_known(store, account, "shop.example")
    assert await store.domains.record(account.id, "shop.example", but(DomainCheck.OWNER, CheckMark.BAD), by="dns")
    details = await store.accounts.find("shop")
    assert details.account.domains == {"shop.example"}
    assert details.domains[0].report["owner"] == "bad: no"
    found = [
        each.data["verified"]
        for each in await store.accounts.history(account.id)
        if each.kind is AccountChangeKind.DOMAIN
    ]
    assert found == [False, True, True]


async def test_what_has_not_changed_is_not_written_down_again(store: Store) -> None:
    account = await store.accounts.add("shop", domains=["shop.example"], verified=True)
    for _ in range(3):
        await store.domains.record(account.id, "shop.example", FIT, by="dns")
    assert (
        len([each for each in await store.accounts.history(account.id) if each.kind is AccountChangeKind.DOMAIN]) == 1
    )


async def test_a_domain_that_takes_no_mail_is_deaf_until_it_does_and_trouble_changes_nothing(store: Store) -> None:
    account = await store.accounts.add("shop", domains=["shop.example"], verified=True)
    for mark, deaf in [
        (CheckMark.BAD, True),
        (CheckMark.UNKNOWN, True),
        (CheckMark.GOOD, False),
        (CheckMark.UNKNOWN, False),
    ]:
        await store.domains.record(account.id, "shop.example", but(DomainCheck.MX, mark), by="dns")
        details = await store.accounts.find("shop")
        assert (details.account.deaf == {"shop.example"}) is deaf, mark


async def test_each_domain_is_looked_for_by_one_process_in_its_turn(store: Store) -> None:
    account = await store.accounts.add("shop", domains=[f"d{n}.example" for n in range(5)])
    claims = await asyncio.gather(*(store.domains.claim(2) for _ in range(4)))
    claimed = [each.domain for claim in claims for each in claim]
    assert sorted(claimed) == [f"d{n}.example" for n in range(5)]
    assert await store.domains.claim(10) == []
    aged = "update sender_domain set checked_at = now() - $2::text::interval where domain = $1"
    await make.execute(store, aged, "d0.example", "11 minutes")
    await store.domains.vouch(account.id, "d1.example", by="ann", reason="our own")
    await make.execute(store, aged, "d1.example", "11 minutes")
    assert [each.domain for each in await store.domains.claim(10)] == ["d0.example"]
    await make.execute(store, aged, "d1.example", "25 hours")
    assert [each.domain for each in await store.domains.claim(10)] == ["d1.example"]


async def test_what_was_vouched_for_is_usable_and_says_who_did(store: Store) -> None:
    account = await store.accounts.add("shop", domains=["shop.example"], status=AccountStatus.ACTIVE)
    await store.domains.vouch(account.id, "Shop.Example", by="ann", reason="registrar's papers seen")
    assert known(store, account).domains == {"shop.example"}
    change = (await store.accounts.history(account.id))[-1]
    assert (change.by, change.data) == ("ann", {"verified": "shop.example", "reason": "registrar's papers seen"})
    with pytest.raises(AccountError, match=r"other\.example is not a domain of this account"):
        await store.domains.vouch(account.id, "other.example", by="ann", reason="x")


async def test_a_domain_that_was_removed_meanwhile_is_refused(store: Store) -> None:
    account = await store.accounts.add("shop", domains=["shop.example"])
    await store.domains.remove(account.id, "shop.example")
    with pytest.raises(AccountError, match="not a domain"):
        await store.domains.record(account.id, "shop.example", FIT, by="dns")
