"""Who is served next: the oldest, but with a share for everybody, at any length of the queue."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from mta.mail.delivery import DueDelivery
from mta.mail.message import Stream
from mta.store.queue import claim
from mta.store.queue.claim import ClaimTurn, in_turns
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from tests.unit.mta.queue.test_ready_queue import equal
from tests.unit.mta.store import make

MUCH = 10**12


async def fill(
    store: Store,
    rows: int,
    destination: str,
    *,
    account_id: int = 1,
    age: int = 3600,
    due: int = -60,
    mailing: str | None = None,
    priority: int = 0,
) -> None:
    """Queue ``rows`` messages of one recipient each, received ``age`` and due ``due`` seconds from now."""
    await make.execute(
        store,
        """
        with made as (
            insert into message (id, account_id, sender, size, recipients, received_at, record)
            select gen_random_uuid(), $2, 'shop@acme.example', 1000, 1, now() - make_interval(secs => $4),
                   jsonb_build_object('envelope', jsonb_build_object('body', '7BIT', 'priority', $7::int),
                       'certified', false, 'mark', null)
            from generate_series(1, $1) returning id
        )
        insert into queue (message_id, recipient_index, account_id, destination, address, address_key, due_at,
            expires_at, mailing, priority)
        select id, 0, $2, $3, 'someone@' || $3, '\\x00', now() + make_interval(secs => $5) - random() * interval '1s',
               now() + interval '5 days', $6, $7::int from made
        """,
        rows,
        account_id,
        destination,
        float(age),
        float(due),
        mailing,
        priority,
    )


async def test_only_what_is_due_free_and_not_held_is_taken(store: Store) -> None:
    await fill(store, 3, "due.example")
    await fill(store, 3, "later.example", due=60)
    await fill(store, 3, "held.example")
    await store.queue.hold(QueueFilter(destination="held.example"), "why")
    await make.put(store, "ann@leased.example")
    taken = await store.messages.claim(deliveries=100, octets=MUCH)
    assert [each.destination for each in taken] == ["due.example"] * 3
    assert {each.lease for each in taken} == {store.lease.id}
    assert await store.messages.claim(deliveries=100, octets=MUCH) == []


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("due", ["now() - interval '2h'", "now() - interval '1h'"])
@pytest.mark.parametrize("bounce", [None, "why"])
async def test_what_has_expired_is_taken_in_every_state(store: Store, held: bool, due: str, bounce: str | None) -> None:
    await fill(store, 1, "expired.example")
    if held:
        await store.queue.hold(QueueFilter(), "why")
    await make.execute(
        store, f"update queue set expires_at = now() - interval '1h', bounce = $1, due_at = {due}", bounce
    )
    (delivery,) = await store.messages.claim(deliveries=10, octets=MUCH)
    assert delivery.expires_at < make.now()
    assert delivery.bounce == bounce


async def test_what_a_live_worker_holds_is_not_taken_even_if_it_has_expired(store: Store) -> None:
    await make.put(store, hours=-1)
    assert await store.messages.claim(deliveries=10, octets=MUCH) == []


async def test_recipients_of_one_message_and_destination_are_one_delivery(store: Store) -> None:
    await store.messages.enqueue(make.accepted("a@one.example", "b@two.example", "c@one.example"), leased=False)
    taken = await store.messages.claim(deliveries=100, octets=MUCH)
    assert sorted((each.destination, [r.index for r in each.recipients], each.whole) for each in taken) == [
        ("one.example", [0, 2], False),
        ("two.example", [1], False),
    ]


async def test_a_recipient_that_waits_longer_does_not_hurry_with_the_others(store: Store) -> None:
    delivery = await make.put(store, "a@one.example", "b@one.example")
    first, second = delivery.recipients
    await make.write(store, make.result(delivery, [make.deferred(first, 0), make.deferred(second, 60)]))
    (taken,) = await store.messages.claim(deliveries=100, octets=MUCH)
    assert [each.index for each in taken.recipients] == [0]
    assert taken.attempts == 1
    assert not taken.whole


async def test_bounds_in_deliveries_and_octets(store: Store) -> None:
    await fill(store, 20, "due.example")
    assert len(await store.messages.claim(deliveries=5, octets=MUCH)) == 5
    assert len(await store.messages.claim(deliveries=100, octets=3500)) == 3
    assert len(await store.messages.claim(deliveries=100, octets=1)) == 1
    assert len(await store.messages.claim(deliveries=100, octets=MUCH)) == 11


async def test_destinations_to_be_skipped(store: Store) -> None:
    await fill(store, 100, "full.example", due=-600)
    await fill(store, 3, "free.example")
    taken = await store.messages.claim(deliveries=10, octets=MUCH, wanted=lambda due: due.destination != "full.example")
    assert [each.destination for each in taken] == ["free.example"] * 3


async def test_a_hundred_thousand_for_one_destination_do_not_keep_the_others_waiting(store: Store) -> None:
    await fill(store, 100_000, "crowd.example", due=-86_400)
    for n in range(300):
        await fill(store, 1, f"d{n:03}.example", account_id=1 + n % 2, due=-60)
    await make.execute(store, "analyze queue")
    seen: dict[str, int] = {}
    for _ in range(3):
        for each in await store.messages.claim(deliveries=400, octets=MUCH):
            seen[each.destination] = seen.get(each.destination, 0) + 1
    assert len(seen) == 301
    assert 3 * 200 <= seen["crowd.example"] <= 3 * 400


async def test_looking_is_bounded_however_long_the_queue(store: Store) -> None:
    await fill(store, 50_000, "crowd.example", due=-86_400)
    await fill(store, 50_000, "later.example", due=3600, mailing="later")
    await make.execute(store, "analyze queue")
    async with store._database.session(30) as connection:
        for question, values in (
            (claim._OLDEST, ("transactional", 400, True)),
            (claim._TURNS, ("transactional", -1, (), (), ())),
            (claim._ROUND, ("transactional", (1, 1), ("", "later"), (0, 0), ("", ""), 100, 5, True)),
        ):
            plan = await connection.fetch(f"explain (analyze, buffers, format text) {question}", *values)
            touched = sum(
                int(line[0].split("actual")[1].split("rows=")[1].split()[0].split(".")[0])
                for line in plan
                if "actual" in line[0]
            )
            assert touched < 10_000


async def test_accounts_take_turns(store: Store) -> None:
    await fill(store, 1000, "one.example", account_id=1, due=-86_400)
    await fill(store, 5, "one.example", account_id=2, due=-60)
    taken = await store.messages.claim(deliveries=100, octets=MUCH)
    assert sum(each.account_id == 2 for each in taken) == 5


async def test_a_mailing_does_not_keep_its_account_and_others_waiting(store: Store) -> None:
    await fill(store, 50_000, "one.example", due=-86_400, mailing="huge")
    for n in range(250):
        await fill(store, 1, f"d{n:03}.example", due=-80_000, mailing="huge")
    await fill(store, 10, "one.example", due=-60, mailing="small")
    await fill(store, 10, "one.example", due=-60, account_id=2, mailing="other")
    await fill(store, 10, "one.example", due=-60, account_id=3)
    await make.execute(store, "analyze queue")
    taken = [each for _ in range(2) for each in await store.messages.claim(deliveries=400, octets=MUCH)]
    assert Counter(each.mailing for each in taken if each.mailing != "huge") == {"small": 10, "other": 10, None: 10}
    assert len(taken) == 800


async def test_a_round_passes_all_mailings_of_all_accounts(store: Store) -> None:
    await fill(store, 2000, "one.example", due=-86_400, mailing="a huge one")
    for n in range(120):
        await fill(store, 1, "one.example", due=-60, account_id=1 + n // 40, mailing=f"m{n:03}")
    taken = [each for _ in range(10) for each in await store.messages.claim(deliveries=50, octets=MUCH)]
    assert len({each.mailing for each in taken}) == 121


async def test_turns_are_by_the_weights_of_accounts(store: Store) -> None:
    await fill(store, 1000, "one.example", account_id=1)
    await fill(store, 1000, "one.example", account_id=2)
    taken = await store.messages.claim(
        deliveries=400, octets=MUCH, account_weight=lambda account: {1: 30, 2: 10}[account]
    )
    assert Counter(each.account_id for each in taken) == {1: 300, 2: 100}


async def test_a_priority_brings_a_message_before_others_of_its_account(store: Store) -> None:
    await fill(store, 2000, "one.example", due=-86_400)
    await fill(store, 5, "one.example", due=-60, priority=9)
    await fill(store, 5, "one.example", due=-90_000, priority=-9)
    await fill(store, 300, "one.example", due=-60, account_id=2)
    taken = await store.messages.claim(deliveries=100, octets=MUCH)
    assert sum(each.account_id == 2 for each in taken) == 50
    assert sum(each.priority == 9 for each in taken) == 5


async def test_two_workers_never_take_the_same(store: Store) -> None:
    await fill(store, 200, "due.example")
    async with store._database.session() as one, store._database.session() as two, one.transaction(), two.transaction():
        mine = await ClaimTurn(Stream.TRANSACTIONAL).take(one, 1, 100, MUCH, lambda _: True, account_weight=equal)
        theirs = await ClaimTurn(Stream.TRANSACTIONAL).take(two, 2, 100, MUCH, lambda _: True, account_weight=equal)
    assert len(mine) == 100
    assert not {each.message_id for each in mine} & {each.message_id for each in theirs}


def due_after(minute: int, account: int = 1, destination: str = "a.example") -> DueDelivery:
    due_at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return DueDelivery(uuid.uuid4(), destination, account, None, due_at, ending=False)


def test_turns_are_by_account_then_destination_then_age() -> None:
    a1, a2, a3 = due_after(3), due_after(1), due_after(2)
    b1 = due_after(9, destination="b.example")
    c1, c2 = due_after(20, account=2), due_after(21, account=2)
    assert in_turns([a1, a2, a3, b1, c2, c1], equal) == [a2, c1, b1, c2, a3, a1]


def test_turns_in_an_account_are_by_mailing_and_priority() -> None:
    many = [due_after(n)._replace(mailing="m") for n in range(40)]
    other = due_after(100)._replace(mailing="other")
    urgent = due_after(101)._replace(mailing="m", priority=9)
    low = due_after(0)._replace(mailing="m", priority=-9)
    order = in_turns([low, *many, other, urgent], equal)
    assert order[0] == urgent
    assert order.index(other) == 2
    assert 7 <= order.index(low) <= 10


def test_a_delivery_of_several_rows_is_counted_once_by_its_oldest() -> None:
    early = due_after(1)
    late = early._replace(due_at=due_after(5).due_at)
    other = due_after(3)
    assert in_turns([late, other, early], equal) == [early, other]


async def test_no_more_is_claimed_of_a_destination_than_is_wanted(store: Store) -> None:
    await fill(store, 50, "slow.example")
    await fill(store, 3, "fast.example")
    left = {"slow.example": 2, "fast.example": 50}

    def wanted(due: DueDelivery) -> bool:
        left[due.destination] -= 1
        return left[due.destination] >= 0

    taken = await store.messages.claim(deliveries=20, octets=MUCH, wanted=wanted)
    assert Counter(each.destination for each in taken) == {"slow.example": 2, "fast.example": 3}


async def test_what_only_waits_for_its_end_is_taken_although_its_destination_is_not_wanted(store: Store) -> None:
    """A site at rest keeps neither an operator's bounce nor an expiry waiting."""
    await fill(store, 6, "rests.example")
    await make.execute(
        store,
        "update queue set bounce = 'why' where message_id in (select message_id from queue limit 2)",
    )
    await make.execute(
        store,
        "update queue set due_at = now() - interval '2h', expires_at = now() - interval '1h'"
        " where message_id in (select message_id from queue where bounce is null limit 1)",
    )
    taken = await store.messages.claim(
        deliveries=100, octets=MUCH, wanted=lambda due: due.destination != "rests.example"
    )
    assert sorted(each.bounce or "" for each in taken) == ["", "why", "why"]


async def test_giving_back_does_not_put_off_a_bounce(store: Store) -> None:
    ours = [await make.put(store, "ann@example.net"), await make.put(store, "ben@example.net")]
    await make.execute(store, "update queue set bounce = 'why' where message_id = $1", ours[0].message_id)
    await store.messages.requeue(ours, timedelta(hours=1))
    [due] = await store.messages.claim(deliveries=100, octets=MUCH)
    assert due.message_id == ours[0].message_id
