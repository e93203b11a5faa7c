"""One act and all that follows from it: the suppression, queued copies, the ledger, consents, events, or nothing."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.permission import suppression_writer
from mta.store.permission.ledger import Given
from mta.store.permission.suppression_writer import Applied
from mta.store.queue.removal import GLOBAL
from mta.store.store import Store
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence
from policy.permission.suppression import Reason, SuppressionRequest
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
LONG_AGO = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
async def shop(store: Store) -> int:
    """An account to whose offers and news Ann has agreed."""
    return await customer(store, "shop")


async def customer(store: Store, name: str) -> int:
    account = await store.accounts.add(name)
    await store.consents.record(account.id, [agreed("offers", "news")], by="form")
    return account.id


def agreed(*topics: str, at: datetime = LONG_AGO) -> Given:
    evidence = Evidence(source_url="https://shop.example/form", ip="192.0.2.1", confirm_ip="192.0.2.1")
    return Given(ANN, topics, Basis.DOUBLE_OPT_IN, at, at, evidence)


def by_link(store: Store, account_id: int, topic: str = "*", **more: object) -> SuppressionRequest:
    """As an unsubscribe link has it: the hash, and no address."""
    key = store.suppressions._secrets.address_key(ANN)
    return replace(SuppressionRequest(key, account_id, Reason.UNSUBSCRIBE, "one-click", topic, evidence="POST"), **more)  # type: ignore[arg-type]


async def revoked(store: Store) -> list[tuple[int, str]]:
    """(account, topic) of consents that have ended; not the entry that ended them all."""
    known = await store.consents.of(ANN)
    return sorted(
        (account.account_id, topic)
        for account in known
        for consent in account.consents
        if consent.revoked_at
        for topic in consent.topics - {"*"}
    )


async def queue(store: Store, account_id: int, topic: str) -> None:
    await store.messages.enqueue(
        make.accepted(str(ANN), account_id=account_id, stream=Stream.MARKETING, topic=topic), leased=False
    )


async def test_a_link_that_knows_the_hash_only_unsubscribes_in_full(store: Store, shop: int) -> None:
    await queue(store, shop, "offers")
    await queue(store, shop, "news")
    applied = await store.suppressions.apply([by_link(store, shop, "offers")])
    assert (applied.fresh, applied.pulled, applied.entries) == (1, 1, ((shop, 2),))
    assert await revoked(store) == [(shop, "offers")]
    (found,) = await store.suppressions.find(shop, [ANN])
    assert (found.address, found.reason, found.topic, found.until) == (ANN, Reason.UNSUBSCRIBE, "offers", None)
    assert [each.local for each in [one.address for one in await store.suppressions.list()]] == [
        store.suppressions._secrets.address_key(ANN).hex()
    ]
    (recorded,) = await store.suppressions.of(ANN)
    assert recorded.evidence == "ledger entry 2: POST"


async def test_pressing_it_again_changes_nothing(store: Store, shop: int) -> None:
    act = by_link(store, shop)
    together = await asyncio.gather(*(store.suppressions.apply([act]) for _ in range(8)))
    assert sum(each.fresh for each in together) == 1
    assert sum(bool(each.entries) for each in together) == 1
    assert await store.suppressions.apply([act]) == Applied()
    assert await make.count(store, "event where kind = 'suppressed'") == 1
    assert (await store.consents.head(shop)).number == 2


async def test_unsubscribing_again_from_a_newer_consent_is_news(store: Store, shop: int) -> None:
    await store.suppressions.apply([by_link(store, shop)])
    (first,) = await store.suppressions.find(shop, [ANN])
    await store.consents.record(shop, [agreed("offers", at=datetime.now(UTC))], by="form")
    applied = await store.suppressions.apply([by_link(store, shop)])
    assert (applied.fresh, len(applied.changed), len(applied.entries)) == (0, 1, 1)
    (again,) = await store.suppressions.find(shop, [ANN])
    assert again.since > first.since


async def test_an_objection_to_everybody_is_entered_in_every_ledger(store: Store, shop: int) -> None:
    other = await customer(store, "other")
    await queue(store, other, "offers")
    act = by_link(store, GLOBAL, "", reason=Reason.OBJECTION, by="abuse desk")
    applied = await store.suppressions.apply([act])
    assert (applied.pulled, [account for account, _ in applied.entries]) == (1, [shop, other])
    assert await revoked(store) == [(account, topic) for account in (shop, other) for topic in ("news", "offers")]
    assert await store.suppressions.apply([act]) == Applied()


async def test_an_unsubscription_is_entered_beneath_an_operators_suppression(store: Store) -> None:
    account_id = (await store.accounts.add("shop")).id
    await store.suppressions.add(account_id, ANN, detail="a list of ours", topic="*")
    first = await store.suppressions.apply([by_link(store, account_id)])
    assert (len(first.changed), len(first.entries)) == (0, 1)
    assert await store.suppressions.apply([by_link(store, account_id)]) == Applied()
    (found,) = await store.suppressions.find(account_id, [ANN])
    assert found.reason is Reason.MANUAL


async def test_the_stronger_reason_stays(store: Store) -> None:
    account_id = (await store.accounts.add("shop")).id
    for number, (first, second) in enumerate(itertools.product(Reason, Reason)):
        address = Address.parse(f"u{number}@example.net")
        for reason in (first, second):
            await store.suppressions.add(account_id, address, reason)
        (found,) = await store.suppressions.find(account_id, [address])
        assert found.reason is max(first, second, key=lambda reason: reason.rank)


async def test_what_ends_sooner_never_replaces_what_does_not(store: Store) -> None:
    account_id = (await store.accounts.add("shop")).id
    soon, later = (datetime.now(UTC) + timedelta(days=days) for days in (3, 9))
    act = store.suppressions.act
    untils = []
    for reason, until in (
        (Reason.MANUAL, soon),
        (Reason.SOFT_BOUNCES, later),
        (Reason.MANUAL, soon),
        (Reason.UNSUBSCRIBE, None),
        (Reason.MANUAL, later),
    ):
        await store.suppressions.apply([act(account_id, ANN, reason, expires_at=until)])
        (found,) = await store.suppressions.find(account_id, [ANN])
        untils.append((found.reason, found.until))
    assert untils == [
        (Reason.MANUAL, soon),
        (Reason.SOFT_BOUNCES, later),
        (Reason.SOFT_BOUNCES, later),
        (Reason.UNSUBSCRIBE, None),
        (Reason.UNSUBSCRIBE, None),
    ]


async def test_what_has_expired_suppresses_nobody_and_may_be_replaced(store: Store) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    await store.suppressions.apply([store.suppressions.act(1, ANN, expires_at=past)])
    assert await store.suppressions.find(1, [ANN]) == []
    assert await store.suppressions.of(ANN) == []
    assert await store.suppressions.list() == []
    (facts,) = await store.recipients.find(1, [ANN])
    assert facts.suppressions == ()
    await store.suppressions.add(1, ANN, Reason.SOFT_BOUNCES)
    assert [each.reason for each in await store.suppressions.list()] == [Reason.SOFT_BOUNCES]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.permanent])
def test_what_a_person_has_said_has_no_end(reason: Reason) -> None:
    with pytest.raises(ValueError, match="never expires"):
        SuppressionRequest(b"k", 1, reason, "r", expires_at=LONG_AGO)


async def test_a_transaction_that_fails_leaves_nothing(store: Store, shop: int) -> None:
    await queue(store, shop, "offers")
    async with store._database.session() as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert (await suppression_writer.apply(connection, [by_link(store, shop)])).pulled == 1
        await transaction.rollback()
    assert await store.suppressions.list() == []
    assert await revoked(store) == []
    assert await make.count(store, "queue") == 1


async def test_facts_of_a_recipient_carry_all_of_it(store: Store, shop: int) -> None:
    until = datetime.now(UTC) + timedelta(days=5)
    act = store.suppressions.act(shop, ANN, Reason.SOFT_BOUNCES, detail="mailbox_full", expires_at=until)
    await store.suppressions.apply([act])
    (facts,) = await store.recipients.find(shop, [ANN])
    (found,) = facts.suppressions
    assert (found.why, found.until) == ("soft_bounces: mailbox_full", until)
