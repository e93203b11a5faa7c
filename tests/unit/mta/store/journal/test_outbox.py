"""Events for accounts: written with what happens, for those who listen, and read in order without a gap."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from mta.mail.address import Address
from mta.mail.delivery import Action
from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from mta.observe.account_events import AccountEvent, fields
from mta.store.journal import outbox
from mta.store.permission import suppression_writer
from mta.store.postgres.secrets import Secrets
from mta.store.queue.queue import QueueFilter
from mta.store.queue.removal import GLOBAL
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.permission.suppression import Reason, SuppressionRequest
from tests.unit.mta.store import make

URL = "https://example.com/events"


@pytest.fixture
async def shop(store: Store) -> int:
    """An account with a webhook."""
    account = await store.accounts.add("shop", status=AccountStatus.ACTIVE)
    await store.webhooks.add(account.id, URL, by="test")
    return account.id


async def read(store: Store, account_id: int, after: int = 0, kinds: tuple[str, ...] = ()) -> list[AccountEvent]:
    return await store.outbox.read(account_id, after, await store.outbox.watermark(), kinds)


async def test_the_life_of_a_message_is_told_in_order(store: Store, shop: int) -> None:
    more = {"account_id": shop, "mailing": "01abc", "topic": "offers", "stream": Stream.MARKETING}
    delivery = await make.put(store, "ann@example.net", **more)
    (ann,) = delivery.recipients
    await make.write(store, make.result(delivery, [make.deferred(ann)]))
    await store.queue.hold(QueueFilter(account_id=shop), "a look")
    await store.queue.release(QueueFilter(account_id=shop))
    (again,) = await store.messages.claim(deliveries=10, octets=10**6, stream=Stream.MARKETING)
    await make.write(store, make.result(again))
    events = await read(store, shop)
    assert [event.kind for event in events] == ["accepted", "deferred", "held", "released", "delivered"]
    assert [event.id for event in events] == sorted({event.id for event in events})
    for event in events:
        assert (event.message_id, event.recipient) == (delivery.message_id, "ann@example.net")
        assert (event.mailing, event.topic, event.stream) == ("01abc", "offers", "marketing")
    assert events[0].data["size"] == delivery.size
    assert events[1].data["rule"] == "greylisting"
    assert events[4].data["code"] == 250


async def test_each_recipient_is_accepted_and_a_hold_is_said(store: Store, shop: int) -> None:
    hold = make.hold("why", HoldSource.REVIEW, "content")
    both = make.accepted("ann@example.net", "bob@example.org", account_id=shop, hold=hold)
    await store.messages.enqueue(both, leased=False)
    events = await read(store, shop)
    told = [{"source": "review", "ref": "content", "text": "why"}]
    assert [(each.kind, each.recipient, each.data["holds"]) for each in events] == [
        ("accepted", "ann@example.net", told),
        ("accepted", "bob@example.org", told),
    ]


async def test_what_follows_from_a_hard_bounce_is_told(store: Store, shop: int) -> None:
    await store.messages.enqueue(make.accepted("ann@example.net", account_id=shop), leased=False)
    delivery = await make.put(store, "ann@example.net", account_id=shop)
    (ann,) = delivery.recipients
    await make.write(store, make.result(delivery, [make.failed(ann, Action.SUPPRESS)]))
    kinds = [(event.kind, event.recipient, event.data.get("address")) for event in await read(store, shop)][2:]
    assert sorted(kinds, key=str) == [
        ("dropped", "ann@example.net", None),
        ("failed", "ann@example.net", "192.0.2.25"),
        ("suppressed", None, "ann@example.net"),
    ]


async def test_what_a_person_says_is_told_to_the_account_it_concerns(store: Store, shop: int, secrets: Secrets) -> None:
    ann = Address.parse("ann@example.net")

    async def act(reason: Reason, account_id: int) -> None:
        said = SuppressionRequest(
            secrets.address_key(ann), account_id, reason, "test", topic="*", address=ann, by="joe"
        )
        await store._database.retried(lambda connection: suppression_writer.apply(connection, [said]))

    await act(Reason.UNSUBSCRIBE, shop)
    await act(Reason.COMPLAINT, shop)
    await act(Reason.COMPLAINT, GLOBAL)
    told = [fields(event) for event in await read(store, shop)]
    assert [(each["kind"], each["recipient"], each["topic"], each["data"]["reason"]) for each in told] == [
        ("unsubscribed", "ann@example.net", "*", "unsubscribe"),
        ("suppressed", "ann@example.net", "*", "complaint"),
    ]
    assert "joe" not in str(told)


async def test_who_does_not_listen_costs_no_row(store: Store, shop: int) -> None:
    other = await store.accounts.add("other", status=AccountStatus.ACTIVE)
    await make.write(store, make.result(await make.put(store, account_id=other.id)))
    assert await make.count(store, "outbox") == 0
    await make.write(store, make.result(await make.put(store, account_id=shop)))
    assert await make.count(store, "outbox") == 2


async def test_what_is_rolled_back_is_not_told(store: Store, shop: int) -> None:
    async with store._database.session() as connection:
        change = connection.transaction()
        await change.start()
        await outbox.note(connection, shop, "case_opened", {"case": "C-1"})
        await change.rollback()
    assert await read(store, shop) == []


async def test_nothing_is_read_past_a_transaction_that_may_come_before(store: Store, shop: int) -> None:
    async with store._database.session(30) as slow, store._database.session(30) as quick:
        late = slow.transaction()
        await late.start()
        await outbox.note(slow, shop, "first", {})
        await outbox.note(quick, shop, "second", {})
        for _ in range(3):
            assert await read(store, shop) == []
        await outbox.note(quick, shop, "third", {})
        await late.commit()
        assert [event.kind for event in await read(store, shop)] == ["first", "second", "third"]


async def test_what_runs_in_another_database_of_the_server_delays_nothing(
    store: Store, shop: int, postgres_server: str
) -> None:
    elsewhere = await asyncpg.connect(postgres_server)
    try:
        async with elsewhere.transaction():
            await elsewhere.execute("select pg_current_xact_id()")
            async with store._database.session() as connection:
                await outbox.note(connection, shop, "first", {})
            assert [event.kind for event in await read(store, shop)] == ["first"]
    finally:
        await elsewhere.close()


async def test_many_writers_and_a_reader_who_misses_nothing(store: Store, shop: int) -> None:
    """Transactions of all lengths; the reader moves on as it may. Every event once, in the order of ids."""
    seen: list[int] = []
    writing = True

    async def write(number: int) -> None:
        for turn in range(12):
            async with store._database.session(30) as connection, connection.transaction():
                for _ in range(1 + (number + turn) % 3):
                    await outbox.note(connection, shop, "said", {"by": number})
                    await asyncio.sleep(0.001 * ((number * 7 + turn) % 5))

    async def follow() -> None:
        while True:
            last = not writing
            found = await read(store, shop, seen[-1] if seen else 0)
            seen.extend(event.id for event in found)
            if last and not found:
                return

    reading = asyncio.create_task(follow())
    await asyncio.gather(*(write(number) for number in range(4)))
    writing = False
    await reading
    assert len(seen) == await make.count(store, "outbox") > 48
    assert seen == sorted(set(seen))


async def test_kinds_are_chosen(store: Store, shop: int) -> None:
    await make.write(store, make.result(await make.put(store, account_id=shop)))
    assert [event.kind for event in await read(store, shop, kinds=("delivered",))] == ["delivered"]


async def test_old_events_go_when_they_were_taken_and_all_in_the_end(store: Store, shop: int) -> None:
    for days in (40, 10, 9, 0):
        await make.execute(
            store, "insert into outbox (at, account_id, kind, data) values (now() - $1::interval, $2, 'x', '{}')",
            timedelta(days=days), shop,
        )  # fmt: skip
    ids = [event.id for event in await read(store, shop)]
    week, month = make.now() - timedelta(days=7), make.now() - timedelta(days=30)
    await make.execute(store, "update webhook set cursor = $1", ids[1])
    assert await outbox.sweep(store._database, week, month) == 2  # the third has not been taken
    assert [event.id for event in await read(store, shop)] == ids[2:]
    await make.execute(store, "update webhook set cursor = $1", ids[3])
    assert await outbox.sweep(store._database, week, month) == 1
    assert [event.id for event in await read(store, shop)] == ids[3:]
    assert await outbox.sweep(store._database, week, month) == 0


async def test_an_erased_address_is_erased_here_too(store: Store, shop: int) -> None:
    async with store._database.session() as connection:
        await outbox.note(connection, shop, "case_opened", {"recipient": "ann@example.net"})
    await store.data_subjects.erase(Address.parse("ann@example.net"), by="test", keep_proof=None)
    told = [event for event in await read(store, shop) if event.kind == "case_opened"]
    assert "ann@example.net" not in str(told[0].data)


async def test_where_a_time_begins(store: Store, shop: int) -> None:
    await make.write(store, make.result(await make.put(store, account_id=shop)))
    first, second = await read(store, shop)
    assert await store.outbox.before(shop, first.at) == first.id - 1
    assert await store.outbox.before(shop, make.now() + timedelta(hours=1)) == second.id


async def test_the_last_events_of_an_account_are_found_however_far_apart(store: Store, shop: int) -> None:
    for n in range(3):
        async with store._database.session() as connection:
            await outbox.note(connection, shop, "held" if n == 1 else "accepted", {"n": n})
            await connection.execute("select setval('outbox_id_seq', (select last_value + 5000 from outbox_id_seq))")
    upto = await store.outbox.watermark()
    assert [each.data["n"] for each in await store.outbox.latest(shop, upto)] == [2, 1, 0]
    assert [each.data["n"] for each in await store.outbox.latest(shop, upto, ("accepted",), 1)] == [2]
    assert [each.data["n"] for each in await store.outbox.latest(shop, upto, ("held",), 5)] == [1]
