"""Unsubscribing by a token: all of it in one transaction, once, and nothing for what is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson
import pytest

from mta.mail.address import Address
from mta.mail.message import Stream
from mta.store.permission.ledger import Given, Verified
from mta.store.permission.unsubscribes import Unsubscribes, UnsubscribeVia
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence
from policy.permission.tokens import Claim
from tests.unit.mta.store.make import count, execute, put

ANN, BOB = "ann@example.net", "bob@example.net"
AGENT = "Mozilla/5.0 (compatible; Mail Client)"
TABLES = ("account", "suppression", "consent_entry", "consent_head", "event", "outbox", "queue", "consent")


@pytest.fixture
async def account_id(store: Store) -> int:
    account = await store.accounts.add("shop", domains=["acme.example"], status=AccountStatus.ACTIVE, verified=True)
    await execute(
        store, "insert into webhook (account_id, url, sealed) values ($1, 'https://shop.example/', '')", account.id
    )
    return account.id


@pytest.fixture
def claim(account_id: int, secrets: Secrets) -> Claim:
    return Claim("u", account_id, secrets.address_key(Address.parse(ANN)), "m-1", "offers")


async def agree(store: Store, account_id: int, address: str = ANN, *topics: str) -> None:
    given = Given(
        Address.parse(address),
        topics or ("offers",),
        Basis.DOUBLE_OPT_IN,
        datetime.now(UTC) - timedelta(days=3),
        datetime.now(UTC) - timedelta(days=3),
        Evidence(),
    )
    await store.consents.record(account_id, [given], by="test")


async def suppressions(store: Store) -> list[tuple[object, ...]]:
    async with store._database.session() as connection:
        rows = await connection.fetch("select account_id, topic, address, reason, rule, evidence from suppression")
    return [tuple(row) for row in rows]


class TestOurs:
    async def test_suppression_consent_copies_and_events_are_one(
        self, store: Store, account_id: int, claim: Claim
    ) -> None:
        await agree(store, account_id)
        marketing = {"account_id": account_id, "stream": Stream.MARKETING}
        gone = await put(store, ANN, topic="offers", **marketing)
        for kept in ({"topic": "news", **marketing}, {"account_id": account_id}):
            await put(store, ANN, **kept)
        await put(store, BOB, topic="offers", **marketing)
        done = await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK, AGENT)
        assert done
        assert await count(store, "queue") == 3
        assert await count(store, f"queue where message_id = '{gone.message_id}'") == 0
        assert await count(store, f"content where message_id = '{gone.message_id}'") == 0
        assert await count(store, "consent where revoked_at is null") == 0
        assert await count(store, f"event where message_id = '{gone.message_id}' and kind = 'dropped'") == 1
        ((account, topic, address, reason, rule, evidence),) = await suppressions(store)
        assert (account, topic, address, reason) == (account_id, "offers", ANN, "unsubscribe")
        assert rule == "unsubscribe_one_click"
        assert "mailing m-1" in str(evidence)
        assert AGENT in str(evidence)

    async def test_the_account_is_told(self, store: Store, account_id: int, claim: Claim) -> None:
        await agree(store, account_id)
        await store.unsubscribes.take(claim, UnsubscribeVia.PAGE)
        async with store._database.session() as connection:
            (event,) = await connection.fetch("select data from event where kind = 'suppressed'")
            (told,) = await connection.fetch("select account_id, data from outbox where kind = 'unsubscribed'")
        data = orjson.loads(event["data"])
        assert told["account_id"] == data["account_id"] == account_id
        assert orjson.loads(told["data"]) == data
        assert (data["address"], data["topic"], data["reason"]) == (ANN, "offers", "unsubscribe")
        assert data["rule"] == "unsubscribe_page"

    async def test_a_second_time_changes_nothing(self, store: Store, account_id: int, claim: Claim) -> None:
        await agree(store, account_id)
        await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK)
        before = [await count(store, table) for table in TABLES]
        for way in (UnsubscribeVia.ONE_CLICK, UnsubscribeVia.PAGE, UnsubscribeVia.MAIL):
            done = await store.unsubscribes.take(claim, way)
            assert done
        assert [await count(store, table) for table in TABLES] == before

    async def test_a_consent_given_anew_can_be_taken_back_again(
        self, store: Store, account_id: int, claim: Claim
    ) -> None:
        await agree(store, account_id)
        await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK)
        later = Given(
            Address.parse(ANN), ("offers",), Basis.DOUBLE_OPT_IN, datetime.now(UTC), datetime.now(UTC), Evidence()
        )
        await store.consents.record(account_id, [later], by="test")
        assert await count(store, "consent where revoked_at is null") == 1
        await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK)
        assert await count(store, "consent where revoked_at is null") == 0

    async def test_without_a_topic_all_marketing_ends(self, store: Store, account_id: int, claim: Claim) -> None:
        await agree(store, account_id, ANN, "offers", "news")
        await put(store, ANN, account_id=account_id, stream=Stream.MARKETING, topic="news")
        await put(store, ANN, account_id=account_id)
        done = await store.unsubscribes.take(replace(claim, topic=""), UnsubscribeVia.MAIL)
        assert done
        assert [(row[1], row[4]) for row in await suppressions(store)] == [("*", "unsubscribe_mail")]
        assert await count(store, "queue") == 1
        assert await count(store, "consent where revoked_at is null") == 0

    async def test_an_address_of_which_nothing_is_recorded(self, store: Store, claim: Claim) -> None:
        done = await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK)
        assert done
        assert [row[2] for row in await suppressions(store)] == [None]

    async def test_what_a_program_calls_itself_is_cut_short_and_made_harmless(self, store: Store, claim: Claim) -> None:
        await store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK, "x\0\x1b[31m\n" + "y" * 5000)
        ((*_, evidence),) = await suppressions(store)
        assert len(str(evidence)) < 300
        assert str(evidence).isprintable()


class TestTogether:
    async def test_requests_that_wait_share_a_transaction_and_a_chain(
        self, store: Store, account_id: int, secrets: Secrets, claim: Claim
    ) -> None:
        people = [f"reader-{n}@example.net" for n in range(30)]
        for person in people:
            await agree(store, account_id, person)
            await put(store, person, account_id=account_id, stream=Stream.MARKETING, topic="offers")
        asked = [replace(claim, address_key=secrets.address_key(Address.parse(person))) for person in people]
        foreign = [replace(each, account_id=4711) for each in asked[:5]]
        seen: list[str] = []
        async with store._database.session() as connection:
            pass
        with listening(connection, seen):
            done = await asyncio.gather(
                *(store.unsubscribes.take(each, UnsubscribeVia.ONE_CLICK) for each in [*asked, *foreign, *asked])
            )
        assert done == [True] * 30 + [False] * 5 + [True] * 30
        assert sum(statement == "COMMIT;" for statement in seen) == 1
        assert sorted(str(row[2]) for row in await suppressions(store)) == sorted(people)
        assert await count(store, "queue") == 0
        assert await count(store, "consent_entry where kind = 'revoked'") == 30
        verified = [each async for each in store.consents.verify(account_id)][-1]
        assert isinstance(verified, Verified)
        assert not verified.faults

    async def test_one_that_fails_fails_alone(self, store: Store, account_id: int, claim: Claim) -> None:
        broken = await store.accounts.add("other", domains=["b.example"], status=AccountStatus.ACTIVE, verified=True)
        await agree(store, broken.id, BOB)
        await execute(store, "update consent_head set entry = 0 where account_id = $1", broken.id)
        asked = [replace(claim, address_key=bytes([n] * 16)) for n in range(4)]
        asked.insert(2, replace(claim, account_id=broken.id))
        done = await asyncio.gather(
            *(store.unsubscribes.take(each, UnsubscribeVia.ONE_CLICK) for each in asked), return_exceptions=True
        )
        assert [each if isinstance(each, bool) else type(each) for each in done] == [
            True, True, asyncpg.UniqueViolationError, True, True
        ]  # fmt: skip
        assert await count(store, "suppression") == 4


class TestNotOurs:
    async def test_nothing_is_changed(self, store: Store, account_id: int, claim: Claim) -> None:
        await agree(store, account_id)
        await put(store, ANN, account_id=account_id, stream=Stream.MARKETING, topic="offers")
        before = [await count(store, table) for table in TABLES]
        foreign = (replace(claim, account_id=4711), replace(claim, account_id=0))
        for each in foreign:
            assert await store.unsubscribes.take(each, UnsubscribeVia.ONE_CLICK, AGENT) is False
        assert [await count(store, table) for table in TABLES] == before

    async def test_the_database_does_as_much(self, store: Store, account_id: int, claim: Claim) -> None:
        """The same statements in the same order, commit included; only the end of the inner transaction differs."""
        unsubscribes = store.unsubscribes
        await unsubscribes.take(
            replace(claim, address_key=bytes(16)), UnsubscribeVia.PAGE
        )  # the driver learns the types
        known = await statements(store, unsubscribes, claim)
        assert len(known) > 10, "they were seen"
        unknown = await statements(store, unsubscribes, replace(claim, account_id=4711))
        assert unknown == known


async def statements(store: Store, unsubscribes: Unsubscribes, claim: Claim) -> list[str]:
    """What is sent to the database while a token is dealt with."""
    seen: list[str] = []
    async with store._database.session() as connection:
        pass
    with listening(connection, seen):
        await unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK, AGENT)
    return [_neutral(statement) for statement in seen]


@contextmanager
def listening(connection: asyncpg.Connection, seen: list[str]) -> Iterator[None]:
    def note(record: asyncpg.connection.LoggedQuery) -> None:
        seen.append(record.query)

    connection.add_query_logger(note)
    try:
        yield
    finally:
        connection.remove_query_logger(note)


def _neutral(statement: str) -> str:
    for end in ("RELEASE SAVEPOINT", "ROLLBACK TO"):
        if statement.startswith(end):
            return "end of the inner transaction"
    return "savepoint" if statement.startswith("SAVEPOINT") else statement
