"""Outcomes: applied once, to our rows only, with everything that follows from them in the same transaction."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from config.schema import DatabaseSettings as DatabaseSettings
from mta.mail.delivery import Action, Fault
from mta.mail.reply import Reply
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue
from mta.store.results import delivery_results
from mta.store.store import Store
from policy.permission.suppression import Reason
from tests.unit.mta.store import make


@pytest.fixture
async def other(database_url: str, database_settings: DatabaseSettings, secrets: Secrets):  # type: ignore[no-untyped-def]
    """A second worker on the same database."""
    store = await Store.open(database_url, database_settings, secrets)
    await store.lease.register()
    yield store
    await store.close()


async def kinds(store: Store, delivery) -> list[tuple[int | None, str]]:  # type: ignore[no-untyped-def]
    return [(event.recipient_index, event.kind) for event in await store.events.of_message(delivery.message_id)]


async def test_recipients_of_one_attempt_part_ways(store: Store) -> None:
    delivery = await make.put(store, "ann@example.net", "bob@example.net", "cyd@example.net")
    ann, bob, cyd = delivery.recipients
    await make.write(store, make.result(delivery, [make.delivered(ann), make.deferred(bob), make.failed(cyd)]))
    assert sorted(await kinds(store, delivery)) == [(0, "delivered"), (1, "deferred"), (2, "failed")]
    (left,) = await store.queue.show(delivery.message_id)
    assert (left.recipient_index, left.attempts, left.state.value) == (1, 1, "ready")
    assert left.last_reply == "451 4.7.1 greylisted, come back later"
    assert left.due_at > make.now() + timedelta(minutes=9)
    assert await store.messages.content(delivery.message_id)


async def test_the_event_holds_all_that_explains_the_outcome(store: Store) -> None:
    delivery = await make.put(store)
    await make.write(store, make.result(delivery, [make.deferred(delivery.recipients[0])]))
    (event,) = await store.events.of_message(delivery.message_id)
    assert dict(event.data) | {"until": None} == {
        "code": 451, "status": "4.7.1", "text": "greylisted, come back later", "stage": "recipient", "seconds": 0.25,
        "host": "mx1.example.net", "address": "192.0.2.25", "tls": "TLSv1.3", "source": "192.0.2.1",
        "category": "greylisted", "fault": "site", "rule": "greylisting", "until": None,
    }  # fmt: skip


async def test_content_goes_with_the_last_recipient(store: Store) -> None:
    both = make.accepted("ann@example.net", "bob@example.org")
    deliveries = make.leased(await store.messages.enqueue(both, leased=True))
    await make.write(store, make.result(deliveries[0]))
    assert await make.count(store, "content") == 1
    await make.write(store, make.result(deliveries[1]))
    assert await make.count(store, "content") == 0


async def test_two_workers_that_end_the_last_recipients_at_once_leave_no_content(store: Store, other: Store) -> None:
    for _ in range(30):
        await store.messages.enqueue(make.accepted("ann@example.net", "bob@example.org"), leased=False)
    mine = await store.messages.claim(deliveries=30, octets=10**9)
    theirs = await other.messages.claim(deliveries=30, octets=10**9)
    assert len(mine) == len(theirs) == 30
    await asyncio.gather(
        make.write(store, *(make.result(each) for each in mine)),
        make.write(other, *(make.result(each) for each in reversed(theirs))),
    )
    assert [await make.count(store, each) for each in ("queue", "content", "event")] == [0, 0, 60]


async def test_a_stale_worker_is_fenced(store: Store, other: Store) -> None:
    delivery = await make.put(store)
    await make.execute(store, "update queue set lease = $1", other.lease.id)
    await make.execute(store, "delete from worker where id = $1", store.lease.id)
    dsn = make.accepted("shop@acme.example", sender=None)
    for outcome in (make.delivered, make.failed, make.deferred):
        await make.write(store, make.result(delivery, [outcome(delivery.recipients[0])], dsn=dsn))
    assert await kinds(store, delivery) == []
    assert await make.count(store, "queue where attempts = 0") == 1
    assert await make.count(store, "message") == 1


async def test_a_row_leased_again_by_the_same_worker_ignores_the_earlier_attempt(store: Store) -> None:
    stale = await make.put(store)
    await store.lease.register()
    await make.execute(store, "update queue set lease = null")
    (fresh,) = await store.messages.claim(deliveries=1, octets=10**6)
    await make.write(store, make.result(await make.put(store)), make.result(stale))
    assert await make.count(store, "queue") == 1
    await make.write(store, make.result(fresh))
    assert await make.count(store, "queue") == 0


async def test_a_dsn_is_queued_with_the_failure_it_reports(store: Store) -> None:
    delivery = await make.put(store)
    dsn = make.accepted("shop@acme.example", sender=None)
    await make.write(store, make.result(delivery, [make.failed(delivery.recipients[0])], dsn=dsn))
    (leased,) = await store.messages.claim(deliveries=10, octets=10**6)
    assert (leased.message_id, leased.sender) == (dsn.message.id, None)
    assert await make.count(store, "message") == 2


async def test_a_delay_is_told_once(store: Store) -> None:
    delivery = await make.put(store)
    dsn = make.accepted("shop@acme.example", sender=None)
    outcomes = [make.deferred(delivery.recipients[0], minutes=0)]
    await make.write(store, make.result(delivery, outcomes, dsn=dsn, delay_dsn_sent=True))
    taken = await store.messages.claim(deliveries=10, octets=10**6)
    assert {each.message_id: each.delay_dsn_sent for each in taken} == {
        delivery.message_id: True,
        dsn.message.id: False,
    }


class TestSuppression:
    async def test_a_failed_address_is_suppressed_and_its_other_copies_are_pulled(self, store: Store) -> None:
        delivery = await make.put(store, "ann@example.net")
        copy = await make.put(store, "ann@example.net", "bob@example.net")
        foreign = await make.put(store, "ann@example.net", account_id=2)
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        await store.listen("suppressed", heard.put_nowait)
        await make.write(store, make.result(delivery, [make.failed(delivery.recipients[0], Action.SUPPRESS)]))
        (found,) = await store.suppressions.find(1, [delivery.recipients[0].address])
        assert (found.account_id, found.reason, found.rule) == (1, Reason.HARD_BOUNCE, "no-such-user")
        assert found.detail == "user_unknown"
        assert [each.recipient_index for each in await store.queue.show(copy.message_id)] == [1]
        assert len(await store.queue.show(foreign.message_id)) == 1
        assert await kinds(store, copy) == [(0, "dropped")]
        assert await make.count(store, "content") == 2
        async with asyncio.timeout(5):
            while await heard.get() is None:
                pass

    async def test_an_attempt_on_a_copy_pulled_meanwhile_is_still_recorded_once(self, store: Store) -> None:
        delivery = await make.put(store, "ann@example.net")
        await store.suppressions.add(1, delivery.recipients[0].address, detail="unsubscribed")
        made = make.result(delivery)
        await make.write(store, made)
        await make.write(store, made)
        events = await store.events.of_message(delivery.message_id)
        assert sorted((event.kind, event.data.get("pulled")) for event in events) == [
            ("delivered", True),
            ("dropped", True),
        ]

    async def test_the_same_address_suppressed_twice_in_a_batch(self, store: Store) -> None:
        deliveries = [await make.put(store, "ann@example.net") for _ in range(3)]
        await make.write(
            store, *(make.result(each, [make.failed(each.recipients[0], Action.SUPPRESS)]) for each in deliveries)
        )
        assert [await make.count(store, each) for each in ("queue", "content", "suppression")] == [0, 0, 1]


class TestPoison:
    @pytest.mark.parametrize("text", ["nul \x00", "lone \ud800", "\u2028", "x" * 100_000])
    async def test_any_reply_can_be_recorded(self, store: Store, text: str) -> None:
        delivery = await make.put(store, "ann@example.net", "bob@example.net")
        ann, bob = delivery.recipients
        reply = Reply(250, "2.0.0", text)
        await make.write(store, make.result(delivery, [make.delivered(ann, reply), make.deferred(bob, 5, reply)]))
        assert sorted(await kinds(store, delivery)) == [(0, "delivered"), (1, "deferred")]

    async def test_an_outcome_that_the_database_refuses_is_recorded_without_text_and_harms_no_other(
        self, store: Store
    ) -> None:
        deliveries = [await make.put(store, f"user{n}@example.net") for n in range(8)]
        results = [make.result(each) for each in deliveries]
        object.__setattr__(results[5].attempt, "source", "nul \x00 where nobody expects it")
        await make.write(store, *results)
        assert await make.count(store, "queue") == 0
        assert [await kinds(store, each) for each in deliveries] == [[(0, "delivered")]] * 8
        (event,) = await store.events.of_message(deliveries[5].message_id)
        assert dict(event.data) == {"code": 250}

    async def test_a_dsn_that_the_database_refuses_does_not_keep_the_failure_from_being_recorded(
        self, store: Store
    ) -> None:
        delivery = await make.put(store)
        dsn = make.accepted("shop@acme.example", sender=None)
        object.__setattr__(dsn, "mailing", "\x00")
        await make.write(store, make.result(delivery, [make.failed(delivery.recipients[0])], dsn=dsn))
        assert await kinds(store, delivery) == [(0, "failed")]
        assert await make.count(store, "queue") == 0

    async def test_an_outcome_that_cannot_be_written_at_all_concerns_its_own_caller_only(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deliveries = [await make.put(store, f"user{n}@example.net") for n in range(8)]
        end_messages = delivery_results.end_messages

        async def refusing(connection, batch, detail):  # type: ignore[no-untyped-def]
            if any(each.attempt.delivery is deliveries[2] for each in batch):
                raise ValueError("never")
            return await end_messages(connection, batch, detail)

        monkeypatch.setattr(delivery_results, "end_messages", refusing)
        answers = await store.results.write([make.result(each) for each in deliveries])
        assert [n for n, answer in enumerate(answers) if answer] == [2]
        assert await make.count(store, "event") == 7
        assert await make.count(store, "queue") == 1


async def test_a_batch_of_every_kind(store: Store) -> None:
    deliveries = []
    for n in range(20):
        accepted = make.accepted(f"user{n}@example.net", f"user{n}@example.org", "x@example.net")
        deliveries += make.leased(await store.messages.enqueue(accepted, leased=True))
    outcomes = [make.delivered, make.deferred, make.failed]
    await make.write(
        store,
        *(
            make.result(each, [outcomes[(n + r.index) % 3](r) for r in each.recipients])
            for n, each in enumerate(deliveries)
        ),
    )
    assert await make.count(store, "event") == 60
    assert await make.count(store, "queue") == await make.count(store, "event where kind = 'deferred'")
    async with store._database.session() as connection:
        queued = {row[0] for row in await connection.fetch("select message_id from queue")}
    assert await make.contents(store) == queued


async def test_a_deadlock_is_tried_again(store: Store, database_url: str) -> None:
    first, second = await make.put(store, "a@example.net"), await make.put(store, "b@example.net")
    rival = await asyncpg.connect(database_url, server_settings={"deadlock_timeout": "10s"})
    await rival.execute("begin")
    await rival.execute("select from queue where message_id = $1 for update", second.message_id)
    writing = asyncio.create_task(make.write(store, make.result(first), make.result(second)))
    while not await rival.fetchval("select count(*) from pg_locks where not granted"):  # noqa: ASYNC110 - polled
        await asyncio.sleep(0.01)
    await rival.execute("select from queue where message_id = $1 for update", first.message_id)
    await rival.execute("commit")
    await rival.close()
    await writing
    assert await make.count(store, "queue") == 0
    assert await make.count(store, "event") == 2


def test_what_ends_its_message_takes_the_short_way(store: Store) -> None:
    delivery = enqueue.deliveries(make.accepted("ann@example.net"), lease=1)[0]
    (ann,) = delivery.recipients
    assert make.result(delivery).ends_message
    elsewhere = replace(make.failed(ann).classification, fault=Fault.SITE)
    assert make.result(delivery, [replace(make.failed(ann), classification=elsewhere)]).ends_message
    assert not make.result(delivery, [make.failed(ann)]).ends_message
    assert not make.result(delivery, [make.deferred(ann)]).ends_message
    assert not make.result(delivery, [make.failed(ann, Action.SUPPRESS)]).ends_message
    assert not make.result(delivery, [make.failed(ann)], dsn=make.accepted()).ends_message
    assert delivery_results.event_kind(make.failed(ann)) == "failed"
