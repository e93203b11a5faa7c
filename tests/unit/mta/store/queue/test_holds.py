"""Holds: in any order of holds and releases a recipient is sent exactly when it has none."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mta.mail.hold import Hold, HoldSource
from mta.mail.message import Stream
from mta.store.postgres.database import Connection
from mta.store.queue import holds
from mta.store.queue.enqueue import Held
from mta.store.queue.holds import HoldScope, QueueChange, of_account, of_mailing, of_waiting
from mta.store.queue.queue import QueueFilter
from mta.store.store import Store
from tests.unit.mta.store import make

Key = tuple[HoldSource, str]

REFS = {HoldSource.BREAKER: ("b1", "b2"), HoldSource.MAILING: ("unconfirmed", "stopped")}
KEYS: list[Key] = [(source, ref) for source in HoldSource for ref in REFS.get(source, ("",))]


@dataclass
class Modelled:
    """What a recipient should be like."""

    address: str
    account_id: int
    mailing: str | None
    holds: set[Key] = field(default_factory=set)
    bounces: bool = False


@dataclass(frozen=True)
class Which:
    """A scope, and the recipients that are in it."""

    scope: HoldScope
    has: Callable[[Modelled], bool]


SCOPES = {
    "account": Which(of_account(1), lambda one: one.account_id == 1),
    "mailing": Which(of_mailing(1, "m1"), lambda one: (one.account_id, one.mailing) == (1, "m1")),
    "waiting": Which(
        of_waiting(1, "m1", HoldSource.MAILING, ["stopped"]),
        lambda one: (one.account_id, one.mailing) == (1, "m1") and (HoldSource.MAILING, "stopped") in one.holds,
    ),
    "address": Which(QueueFilter(address="a@x.example").scope, lambda one: one.address == "a@x.example"),
    "held": Which(QueueFilter(held_by=HoldSource.BREAKER).scope, lambda one: any(
        source is HoldSource.BREAKER for source, _ in one.holds
    )),
    "everything": Which(QueueFilter().scope, lambda one: True),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """``kind``: hold, release or bounce."""

    kind: str
    scope: str
    key: Key
    by_ref: bool
    beside: HoldSource | None
    without: HoldSource | None


STEPS = st.builds(
    Step,
    st.sampled_from(["hold", "hold", "hold", "release", "release", "bounce"]),
    st.sampled_from(sorted(SCOPES)),
    st.sampled_from(KEYS),
    st.booleans(),
    st.sampled_from([None, None, None, *HoldSource]),
    st.sampled_from([None, None, None, *HoldSource]),
)


def expected(step: Step, recipients: list[Modelled]) -> QueueChange:
    """Change the model as the step should change the database."""
    within = [one for one in recipients if SCOPES[step.scope].has(one)]
    match step.kind:
        case "hold":
            lacking = [one for one in within if not one.bounces and step.key not in one.holds]
            for one in lacking:
                one.holds.add(step.key)
            return QueueChange(len(lacking))
        case "release":
            released = still_held = 0
            for one in within:
                sources = {source for source, _ in one.holds}
                if (step.beside and step.beside not in sources) or (step.without and step.without in sources):
                    continue
                ended = {key for key in one.holds if key[0] is step.key[0] and (not step.by_ref or key == step.key)}
                one.holds -= ended
                released += bool(ended)
                still_held += bool(ended and one.holds)
            return QueueChange(released, 0, still_held)
        case _:
            failing = [one for one in within if not one.bounces]
            for one in failing:
                one.holds, one.bounces = set(), True
            return QueueChange(len(failing))


async def take(connection: Connection, step: Step, *, dry_run: bool = False) -> QueueChange:
    scope, (source, ref) = SCOPES[step.scope].scope, step.key
    await holds.plan_for_many(connection)
    match step.kind:
        case "hold":
            return await holds.hold(connection, scope, Hold(source, ref, "why"), dry_run=dry_run)
        case "release":
            refs = [ref] if step.by_ref else None
            return await holds.release(
                connection, scope, [source], "why", refs=refs, beside=step.beside, without=step.without, dry_run=dry_run
            )
        case _:
            return await holds.bounce(connection, scope, "why", dry_run=dry_run)


async def fill(store: Store) -> list[Modelled]:
    """Three messages with six recipients, nothing held."""
    await make.execute(store, "truncate queue, hold, message, content, event")
    recipients = []
    for account_id, mailing, addresses in (
        (1, "m1", ("a@x.example", "b@x.example", "c@y.example")),
        (1, None, ("a@x.example",)),
        (2, "m1", ("d@x.example", "e@y.example")),
    ):
        await store.messages.enqueue(make.accepted(*addresses, account_id=account_id, mailing=mailing), leased=False)
        recipients += [Modelled(address, account_id, mailing) for address in addresses]
    return recipients


async def found(store: Store) -> list[Modelled]:
    await make.holds(store)
    return [
        Modelled(
            each.address,
            each.account_id,
            each.mailing,
            {(hold.source, hold.ref) for hold in each.holds},
            each.bounce is not None,
        )
        for each in await store.queue.list(QueueFilter())
    ]


def in_order(recipients: list[Modelled]) -> list[Modelled]:
    return sorted(recipients, key=lambda one: (one.account_id, one.address, one.mailing or ""))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
async def test_any_order_of_holds_and_releases(store: Store, steps: list[Step]) -> None:
    recipients = await fill(store)
    for step in steps:
        async with store._database.session() as connection, connection.transaction():
            counted = await take(connection, step, dry_run=True)
            changed = await take(connection, step)
        assert changed == counted == expected(step, recipients), step
        assert in_order(await found(store)) == in_order(recipients)
    taken = await store.messages.claim(deliveries=100, octets=10**9)
    sent = sorted((str(one.address), each.account_id) for each in taken for one in each.recipients)
    assert sent == sorted((one.address, one.account_id) for one in recipients if not one.holds)


async def test_holds_and_releases_at_the_same_time_leave_the_numbers_right(store: Store) -> None:
    """Each by a connection of its own, over the same recipients, while workers claim and give back."""
    await fill(store)
    chance = random.Random(1)

    def step() -> Step:
        source, ref = chance.choice(KEYS)
        return Step(chance.choice(("hold", "release")), chance.choice(sorted(SCOPES)), (source, ref), True, None, None)

    async def change() -> None:
        for _ in range(10):
            await store._database.retried(partial(take, step=step()))

    async def claim() -> None:
        for _ in range(10):
            await store.messages.requeue(await store.messages.claim(deliveries=10, octets=10**9))

    await asyncio.gather(*(change() for _ in range(4)), claim())
    await make.holds(store)
    await store._database.retried(
        lambda connection: holds.release(connection, QueueFilter().scope, list(HoldSource), "all")
    )
    assert await make.holds(store) == []
    assert sum(len(each.recipients) for each in await store.messages.claim(deliveries=100, octets=10**9)) == 6


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_a_limit_is_kept_and_the_rest_follows(store: Store, limit: int) -> None:
    await fill(store)
    scope, hold = of_mailing(1, "m1"), make.hold("why", HoldSource.MAILING, "stopped")

    async def all_of(work: Callable[[Connection], Awaitable[QueueChange]]) -> int:
        total = 0
        while done := (await store._database.retried(work)).recipients:
            assert done <= limit
            total += done
        return total

    assert await all_of(lambda connection: holds.hold(connection, scope, hold, limit=limit)) == 3
    assert await all_of(
        lambda connection: holds.release(connection, scope, [HoldSource.MAILING], "why", limit=limit)
    ) == 3  # fmt: skip
    assert await all_of(lambda connection: holds.bounce(connection, scope, "why", limit=limit)) == 3


async def test_a_message_is_held_from_the_start_for_several_reasons(store: Store) -> None:
    first, again, second = (
        make.hold("look", HoldSource.REVIEW, "content"),
        make.hold("look again", HoldSource.REVIEW, "content"),
        make.hold("not confirmed", HoldSource.MAILING, "unconfirmed"),
    )
    accepted = replace(make.accepted("a@x.example", "b@y.example", mailing="m1"), holds=(first, again, second))
    assert await store.messages.enqueue(accepted, leased=True) == Held((first, second))
    assert [set(each.holds) for each in await store.queue.list(QueueFilter())] == [{first, second}] * 2
    await make.holds(store)
    assert await store.queue.release(QueueFilter(), "seen") == QueueChange(2, 0, 2)
    assert await store.messages.claim(deliveries=10, octets=10**9) == []
    assert await store.queue.release(QueueFilter(held_by=HoldSource.MAILING), "by force") == QueueChange(2)
    assert len(await store.messages.claim(deliveries=10, octets=10**9)) == 2


async def test_a_release_by_an_operator_leaves_what_others_hold(store: Store) -> None:
    await fill(store)
    for source in HoldSource:
        hold = make.hold("why", source)
        await store._database.retried(lambda connection, hold=hold: holds.hold(connection, of_account(2), hold))
    assert await store.queue.release(QueueFilter()) == QueueChange(2, 0, 2)
    assert {source for _, source, _ in await make.holds(store)} == {"account_status", "breaker", "mailing", "sampling"}


async def test_holds_go_with_the_recipient(store: Store) -> None:
    """Whatever takes it out of the queue: its delivery while it is held, a suppression, a retreat."""
    delivery = await make.put(store, "a@x.example", "b@x.example")
    other = make.accepted("c@x.example", hold=make.hold("why"))
    await store.messages.enqueue(other, leased=False)
    await store.queue.hold(QueueFilter(), "look")
    assert len(await make.holds(store)) == 3
    ann, ben = delivery.recipients
    await make.write(store, make.result(delivery, [make.delivered(ann), make.deferred(ben)]))
    assert [address for address, *_ in await make.holds(store)] == ["b@x.example", "c@x.example"]
    await store.suppressions.add(None, other.message.envelope.recipients[0].address)
    assert [address for address, *_ in await make.holds(store)] == ["b@x.example"]
    (again,) = [await make.put(store, "d@x.example")]
    await store.queue.hold(QueueFilter(address="d@x.example"), "look")
    await make.write(store, make.result(again))
    assert [address for address, *_ in await make.holds(store)] == ["b@x.example"]


async def test_a_bounce_of_messages_looks_at_their_holds_alone(store: Store) -> None:
    delivery = await make.put(store, "a@x.example")
    await store.messages.enqueue(make.accepted("b@x.example"), leased=False)
    await store.queue.bounce(QueueFilter(address="b@x.example"), "why")
    left_behind = "insert into hold select message_id, recipient_index, 'operator', '', 1, null, '' from queue"
    await make.execute(store, left_behind)
    await store.queue.bounce(QueueFilter(messages=(delivery.message_id,)), "why")
    one = await make.row(store, "select count(*), min(q.address) from hold join queue q using (message_id)")
    assert tuple(one) == (1, "b@x.example")
    await store.queue.bounce(QueueFilter(stream=Stream.MARKETING), "why")
    assert await make.holds(store) == []


async def test_a_hold_that_was_left_behind_is_swept(store: Store) -> None:
    await store.messages.enqueue(make.accepted("a@x.example", hold=make.hold("why")), leased=False)
    await store.messages.enqueue(make.accepted("b@x.example", hold=make.hold("why")), leased=False)
    await make.execute(store, "delete from queue where address = 'a@x.example'")
    await store.messages.sweep(keep=3600)
    assert len(await make.holds(store)) == 2, "it may be of a transaction that is still running"
    await make.execute(store, "update hold set held_at = now() - interval '2 hours'")
    await store.messages.sweep(keep=3600)
    assert await make.holds(store) == [("b@x.example", "operator", "")]
