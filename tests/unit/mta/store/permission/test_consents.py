"""The consent ledger: recorded once, revoked together with what is queued, lifted only by what is newer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Given, Verified
from mta.store.store import Store
from policy.permission.consent import Basis, Consent, Holds, Revoked, Sign, Terms, judge
from policy.permission.evidence import Evidence
from policy.permission.ledger import Head
from policy.permission.suppression import Reason
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
BOB = Address.parse("bob@example.net")
NOW = datetime.now(UTC)
GIVEN = NOW - timedelta(days=30)
FORM = Evidence(
    source_url="https://shop.example/news",
    ip="192.0.2.7",
    statement="Shop B.V. may mail me its offers",
    preticked=False,
)


@pytest.fixture(autouse=True)
async def _accounts(store: Store) -> None:
    await sql(store, "insert into account (name, status) values ('one', 'active'), ('two', 'active')")


def given(address: Address = ANN, *topics: str, days_ago: float = 30, **others: object) -> Given:
    at = NOW - timedelta(days=days_ago)
    base = Given(address, topics or ("offers",), Basis.DOUBLE_OPT_IN, at, at, FORM)
    return replace(base, **others)  # type: ignore[arg-type]


async def consents(store: Store, address: Address = ANN, account_id: int = 1) -> tuple[Consent, ...]:
    (facts,) = await store.recipients.find(account_id, [address])
    return facts.consents


async def held(store: Store, topic: str, address: Address = ANN) -> type:
    return type(judge(await consents(store, address), topic, datetime.now(UTC), Terms()))


async def verified(store: Store, account_id: int = 1, noted: Head | None = None) -> Verified:
    result = [each async for each in store.consents.verify(account_id, noted)][-1]
    assert isinstance(result, Verified)
    return result


async def sql(store: Store, statement: str, *values: object) -> None:
    async with store._database.session() as connection:
        await connection.execute(statement, *values)


async def test_what_is_recorded_reaches_the_rules(store: Store) -> None:
    await store.consents.record(1, [given(ANN, "offers", "news")], by="ann")
    found = await consents(store)
    assert {topic for each in found for topic in each.topics} == {"offers", "news"}
    assert {each.entry for each in found} == {1}
    facts = {"source_host": "shop.example", "sender": "Shop B.V."}  # which account 1 has not registered
    assert all(each.missing == () and each.facts == facts for each in found)
    assert await consents(store, account_id=2) == ()
    assert await consents(store, BOB) == ()


async def test_what_is_missing_is_told(store: Store) -> None:
    await store.consents.record(1, [given(confirmed_at=None, evidence=replace(FORM, ip=""))], by="ann")
    (found,) = await consents(store)
    assert found.missing == ("ip", "confirmed_at")


async def test_nothing_is_recorded_twice(store: Store) -> None:
    both = [given(ANN), given(BOB)]
    assert (await store.consents.record(1, both, by="ann")).fresh == 2
    again = await store.consents.record(1, [*both, given(Address.parse("Ann@Example.NET"))], by="somebody else")
    assert (again.fresh, again.known) == (0, 3)
    assert (await store.consents.record(2, both, by="ann")).fresh == 2
    twice = [given(days_ago=1)] * 2
    assert (await store.consents.record(1, twice, by="ann")).fresh == 1


async def test_the_better_one_is_in_force_whatever_the_order(store: Store) -> None:
    proved, newer = given(days_ago=100), given(days_ago=2, basis=Basis.SINGLE_OPT_IN, confirmed_at=None)
    for address, order in ((ANN, (proved, newer)), (BOB, (newer, proved))):
        for each in order:
            await store.consents.record(1, [replace(each, address=address)], by="ann")
        (found,) = await consents(store, address)
        assert found.basis is Basis.DOUBLE_OPT_IN
    carl = Address.parse("carl@example.net")
    await store.consents.record(1, [replace(each, address=carl) for each in (newer, proved)], by="ann")
    assert (await consents(store, carl))[0].basis is Basis.DOUBLE_OPT_IN


async def test_a_revocation_ends_the_consent_suppresses_and_pulls_in_one_go(store: Store) -> None:
    await store.consents.record(1, [given(ANN, "offers", "news")], by="ann")
    for topic in ("offers", "news", None):
        stream = Stream.MARKETING if topic else Stream.TRANSACTIONAL
        await store.messages.enqueue(make.accepted("ann@example.net", stream=stream, topic=topic), leased=False)
    revocation = await store.consents.revoke(1, ANN, "offers", reason="link in mail", by="web")
    assert (revocation.entry, revocation.pulled) == (2, 1)
    assert await held(store, "offers") is Revoked
    assert await held(store, "news") is Holds
    (suppression,) = (await store.recipients.find(1, [ANN]))[0].suppressions
    assert (suppression.reason, suppression.rule, suppression.topic) == (Reason.REVOKED, "consent", "offers")
    assert (await store.consents.revoke(1, ANN, reason="asked", by="desk")).pulled == 1
    assert await held(store, "news") is Revoked


async def test_a_revocation_without_a_consent_outlives_older_ones_that_turn_up_later(store: Store) -> None:
    await store.consents.revoke(1, ANN, reason="asked", by="desk")
    await store.consents.record(1, [given(ANN, "offers"), given(ANN, "*")], by="import")
    assert await held(store, "offers") is Revoked
    assert await held(store, "news") is Revoked


async def test_a_newer_consent_ends_a_revocation_and_lifts_only_if_asked(store: Store) -> None:
    await store.consents.record(1, [given()], by="ann")
    await store.consents.revoke(1, ANN, "offers", reason="asked", by="desk")
    anew = given(given_at=datetime.now(UTC), confirmed_at=datetime.now(UTC))
    assert (await store.consents.record(1, [anew], by="ann")).lifted == 0
    assert await held(store, "offers") is Holds
    assert len((await store.recipients.find(1, [ANN]))[0].suppressions) == 1
    later = given(given_at=datetime.now(UTC), confirmed_at=datetime.now(UTC))
    assert (await store.consents.record(1, [later], by="ann", lift=True)).lifted == 1
    assert (await store.recipients.find(1, [ANN]))[0].suppressions == ()
    async with store._database.session() as connection:
        (event,) = await connection.fetch("select data from event where kind = 'unsuppressed'")
    assert "ledger entry 4" in event["data"]


@pytest.mark.parametrize(
    ("reason", "topic", "consent"),
    [
        ("hard_bounce", "offers", given(days_ago=-1)),  # no objection
        ("unsubscribe", "offers", given(days_ago=1)),  # older than the suppression
        ("unsubscribe", "*", given(days_ago=-1)),  # one topic does not speak for all
        ("unsubscribe", "offers", given(days_ago=-1, basis=Basis.SINGLE_OPT_IN)),
        ("unsubscribe", "offers", given(days_ago=-1, evidence=replace(FORM, ip=""))),
    ],
)
async def test_what_does_not_lift(store: Store, reason: str, topic: str, consent: Given) -> None:
    await sql(
        store,
        "insert into suppression (address_key, account_id, topic, address, reason, rule, evidence) "
        "values ($1, 1, $2, 'ann@example.net', $3, 'test', '')",
        store.suppressions._secrets.address_key(ANN),
        topic,
        reason,
    )
    assert (await store.consents.record(1, [consent], by="ann", lift=True)).lifted == 0
    assert len((await store.recipients.find(1, [ANN]))[0].suppressions) == 1


async def test_a_record_that_was_revoked_long_ago_suppresses_unless_a_newer_consent_is_there(store: Store) -> None:
    left = given(days_ago=90, revoked_at=NOW - timedelta(days=60))
    await store.consents.record(1, [given(BOB, days_ago=10)], by="ann")
    await store.consents.record(1, [left, replace(left, address=BOB)], by="import")
    assert await held(store, "offers", ANN) is Revoked
    assert await held(store, "offers", BOB) is Holds
    found = await store.recipients.find(1, [ANN, BOB])
    assert [len(facts.suppressions) for facts in found] == [1, 0]


async def test_a_sign_of_life_renews(store: Store) -> None:
    await store.consents.record(1, [given(days_ago=700)], by="ann")
    await store.consents.renew(1, ANN, Sign.PURCHASE, by="shop", at=GIVEN)
    (found,) = await consents(store)
    assert (found.bought_at, found.clicked_at, found.contacted_at) == (GIVEN, None, None)
    await store.consents.renew(1, ANN, Sign.PURCHASE, by="shop", at=GIVEN - timedelta(days=5))
    assert (await consents(store))[0].bought_at == GIVEN
    assert await held(store, "offers") is Holds


async def test_the_chain_holds_and_shows_what_was_changed(store: Store) -> None:
    await store.consents.record(1, [given(ANN), given(BOB)], by="ann")
    await store.consents.revoke(1, ANN, reason="asked", by="desk")
    whole = await verified(store)
    assert (whole.faults, whole.head.number) == ((), 3)
    assert (await verified(store, 2)).faults == ()
    assert (await verified(store, noted=whole.head)).faults == ()
    await sql(store, "update consent_entry set evidence = evidence || ' ' where entry = 2")
    (fault,) = (await verified(store)).faults
    assert fault.number == 2
    await sql(
        store,
        "insert into consent_entry select account_id, 9, at, kind, address_key, digest, hash from consent_entry "
        "where entry = 1",
    )
    assert [fault.number for fault in (await verified(store)).faults] == [2, 9]
    await sql(store, "delete from consent_entry where entry in (3, 9)")
    assert [fault.number for fault in (await verified(store)).faults] == [2, 3]


async def test_many_who_append_at_once_make_one_chain(store: Store) -> None:
    await asyncio.gather(
        *(store.consents.record(1, [given(Address("a" + str(n), "example.net"))], by="ann") for n in range(20)),
        *(store.consents.revoke(1, Address("a" + str(n), "example.net"), reason="x", by="y") for n in range(20)),
    )
    whole = await verified(store)
    assert (whole.faults, whole.head.number) == ((), 40)


async def test_an_import_knows_how_far_it_came(store: Store) -> None:
    file = bytes(32)
    assert await store.consents.begin_import(1, file) == ImportProgress(file, 0)
    await store.consents.record(1, [given()], by="ann", mark=ImportProgress(file, 17))
    assert await store.consents.begin_import(1, file) == ImportProgress(file, 17)
    await store.consents.record(1, [], by="ann", mark=ImportProgress(file, 20, finished=True))
    assert await store.consents.begin_import(1, file) == ImportProgress(file, 20, finished=True)
    assert await store.consents.begin_import(2, file) == ImportProgress(file, 0)
