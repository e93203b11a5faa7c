"""Breakers in the store: counted, tripped once, holding their scope and nothing else, let go by name."""

from __future__ import annotations

import orjson
import pytest

from mta.mail.delivery import Action, Classification, Delivery, Failed, Fault, QueuedRecipient, Result, Stage
from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.store.queue.queue import QueueFilter
from mta.store.reputation import delivery_stats
from mta.store.reputation.breakers import BreakerError
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from policy.reputation.breaker import (
    ONE_COMPLAINT,
    ONE_TRAP,
    ONE_UNKNOWN,
    BreakerKind,
    Level,
    MailingScope,
    MailOrigin,
    ProviderScope,
    Thresholds,
)
from policy.reputation.complaint import ComplaintCause, ComplaintCauseKind, Source
from tests.unit.mta.store import make

SMALL = Thresholds(rejections_floor=10, rejections_stop=0.2, complaints_floor=10, complaints_stop=0.3, traps_stop=2)
BLOCKED = Reply(550, "5.7.1", "blocked, see blocklist")


@pytest.fixture
async def shop(store: Store) -> int:
    return (await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")).id


async def mailing(store: Store, shop: int, name: str = "spring") -> str:
    made = await store.mailings.add(shop, name, topic="offers", list="all", by="ann")
    await store.mailings.confirm(made.id, by="ann", terms="1")
    return made.id


async def put(store: Store, shop: int, *to: str, **more: object) -> Delivery:
    return await make.put(store, *to, account_id=shop, **more)


def refused(recipient: QueuedRecipient) -> Failed:
    meaning = Classification("blocklisted", Fault.SENDER, Action.FAIL, "a-rule")
    return Failed(Result(recipient, Stage.RECIPIENT, BLOCKED), meaning)


async def settle(store: Store, shop: int, good: int, bad: int, provider: str = "gmail", **more: object) -> None:
    for n in range(good + bad):
        delivery = await put(store, shop, f"r{n}@example.net", **more)
        (recipient,) = delivery.recipients
        outcome = refused(recipient) if n < bad else make.delivered(recipient)
        await make.write(store, make.result(delivery, [outcome], provider=provider))


async def tallies(store: Store) -> dict[tuple[str, str, str], tuple[int, ...]]:
    async with store._database.session() as connection:
        rows = await connection.fetch("select *, stream::text as sent from delivery_stats")
    return {
        (row["mailing"], row["provider"], row["sent"]): tuple(
            row[name] for name in ("delivered", "hard", "soft", "complaints", "traps", "refused")
        )
        for row in rows
    }


async def look(store: Store, its: Thresholds = SMALL) -> list[tuple[str, Level]]:
    found = await store.breakers.look({"transactional": its})
    return sorted(((each.name, each.level) for each in found), key=lambda pair: pair[0])


async def test_outcomes_count_for_their_mailing_and_for_their_provider(store: Store, shop: int) -> None:
    await settle(store, shop, 3, 1, mailing="m1", stream=Stream.MARKETING, topic="offers")
    await settle(store, shop, 2, 0)
    delivery = await put(store, shop, "full@example.net")
    await make.write(store, make.result(delivery, [make.deferred(delivery.recipients[0])], provider="gmail"))
    assert await tallies(store) == {
        ("m1", "", "marketing"): (3, 0, 0, 0, 0, 1),
        ("", "gmail", "marketing"): (3, 0, 0, 0, 0, 1),
        ("", "gmail", "transactional"): (2, 0, 1, 0, 0, 0),
    }


async def test_an_outcome_that_comes_again_is_not_counted_again(store: Store, shop: int) -> None:
    delivery = await put(store, shop)
    for _ in range(2):
        await make.write(store, make.result(delivery, provider="gmail"))
    assert await tallies(store) == {("", "gmail", "transactional"): (1, 0, 0, 0, 0, 0)}


async def test_complaints_and_traps_are_counted_where_they_are_taken_in(store: Store, shop: int) -> None:
    delivery = await put(store, shop, mailing="m1")
    await make.write(store, make.result(delivery, provider="gmail"))
    async with store._database.session() as connection, connection.transaction():
        of = await delivery_stats.origin(connection, delivery.message_id, 0)
        assert of == MailOrigin(shop, Stream.TRANSACTIONAL, "m1", "gmail")
        await delivery_stats.add(connection, of, ONE_COMPLAINT)
        await delivery_stats.add(connection, of, ONE_TRAP)
        await delivery_stats.add(connection, of, ONE_UNKNOWN)
    counts = (1, 1, 0, 1, 1, 0)
    assert await tallies(store) == {
        ("m1", "", "marketing"): counts,
        ("", "gmail", "transactional"): counts,
    }


async def test_rejections_by_a_provider_trip_once_and_hold_that_provider_only(store: Store, shop: int) -> None:
    await settle(store, shop, 5, 5)
    name = f"rejections:account:{shop}:gmail:transactional"
    assert await look(store) == [(name, Level.STOP)]
    assert await look(store) == []
    (tripped,) = await store.breakers.list()
    assert (tripped.name, tripped.kind, tripped.cases, tripped.volume) == (name, BreakerKind.REJECTIONS, 5, 10)
    assert tripped.scope == ProviderScope(shop, "gmail", Stream.TRANSACTIONAL)
    (case,) = await store.cases.list(shop)
    assert case.source is Source.BREAKER
    assert case.cause == ComplaintCause(
        ComplaintCauseKind.REJECTIONS, {"cases": 5, "volume": 10, "rate": 0.5, "ceiling": tripped.ceiling}
    )
    assert await make.count(store, "event where kind = 'breaker_tripped'") == 1
    assert await make.count(store, "suppression") == 0

    stopped = await put(store, shop)
    hold = store.breakers.holding(stopped, "gmail")
    assert hold is not None
    assert (hold.source, hold.ref) == (HoldSource.BREAKER, name)
    assert hold.text.startswith("5 rejections of 10")
    assert store.breakers.holding(await put(store, shop), "yahoo") is None
    other = await put(store, shop, stream=Stream.MARKETING, topic="offers")
    assert store.breakers.holding(other, "gmail") is None


async def test_what_is_held_is_let_go_by_name_and_the_same_counts_do_not_trip_again(store: Store, shop: int) -> None:
    await settle(store, shop, 5, 5)
    await look(store)
    (tripped,) = await store.breakers.list()
    waiting, other = await put(store, shop), await put(store, shop, "ben@example.net")
    hold = store.breakers.holding(waiting, "gmail")
    assert hold is not None
    await store.messages.hold([waiting], hold)
    await store.queue.hold(QueueFilter(messages=(other.message_id,)), "an operator")
    await store.messages.requeue([other])
    assert await store.breakers.held(tripped) == 1

    cancelled = await store.breakers.cancel(tripped.name, by="ann", reason="they have delisted us")
    assert cancelled.released == 1
    assert await make.count(store, "queue where holds = 0") == 1
    assert store.breakers.holding(waiting, "gmail") is None
    assert await store.breakers.list() == []
    (past,) = await store.breakers.history(tripped.name)
    assert (past.cancelled_by, past.reset_reason) == ("ann", "they have delisted us")
    assert await make.count(store, "account_change where kind = 'breaker'") == 2

    assert await look(store) == []  # the same counts
    await settle(store, shop, 0, 1)
    assert [level for _, level in await look(store)] == [Level.WARN]  # one more, of at least ten
    await settle(store, shop, 0, 4)
    assert [level for _, level in await look(store)] == [Level.STOP]


async def test_a_worker_that_has_not_heard_of_a_cancellation_holds_nothing(store: Store, shop: int) -> None:
    await settle(store, shop, 5, 5)
    await look(store)
    delivery = await put(store, shop)
    hold = store.breakers.holding(delivery, "gmail")
    assert hold is not None
    (tripped,) = await store.breakers.list()
    await store.breakers.cancel(tripped.name, by="ann", reason="looked at")
    await store.messages.hold([delivery], hold)
    assert await make.count(store, "queue where holds = 0 and lease is null") == 1


async def test_a_mailing_is_stopped_and_goes_on_as_it_was(store: Store, shop: int) -> None:
    spring = await mailing(store, shop)
    await settle(store, shop, 10, 0, mailing=spring, provider="")
    waiting = await put(store, shop, mailing=spring)
    for _ in range(3):
        async with store._database.session() as connection, connection.transaction():
            await delivery_stats.add(connection, MailOrigin(shop, Stream.MARKETING, spring), ONE_COMPLAINT)
    name = f"complaints:mailing:{spring}"
    assert await look(store) == [(name, Level.STOP)]
    found = await store.mailings.find(shop, spring)
    assert found is not None
    assert found.stopped == "3 complaints of 10 recipients (30.00%, limit 30.00%)"
    assert await make.count(store, "hold where source = 'mailing' and ref = 'stopped'") == 1
    hold = store.breakers.holding(waiting, "gmail")
    assert hold is not None
    assert (hold.source, hold.ref) == (HoldSource.BREAKER, name)

    assert (await store.breakers.cancel(name, by="ann", reason="one angry family")).released == 1
    found = await store.mailings.find(shop, spring)
    assert found is not None
    assert found.stopped is None
    assert await make.count(store, "queue where holds > 0") == 0


async def test_what_an_operator_has_stopped_stays_stopped(store: Store, shop: int) -> None:
    spring = await mailing(store, shop)
    await settle(store, shop, 10, 5, mailing=spring, provider="")
    await store.mailings.halt(spring, by="bob", why="a wrong price", bounce=False)
    assert [level for _, level in await look(store)] == [Level.STOP]
    await store.breakers.cancel(f"rejections:mailing:{spring}", by="ann", reason="looked at")
    found = await store.mailings.find(shop, spring)
    assert found is not None
    assert found.stopped == "a wrong price"


async def test_whoever_releases_the_mailing_cancels_its_breaker(store: Store, shop: int) -> None:
    spring = await mailing(store, shop)
    await settle(store, shop, 10, 5, mailing=spring, provider="")
    await look(store)
    await store.mailings.release(spring, by="bob")
    await look(store)
    assert await store.breakers.list() == []
    (past,) = await store.breakers.history(f"rejections:mailing:{spring}")
    assert (past.cancelled_by, past.reset_reason) == ("bob", "the mailing was released")


async def test_a_fresh_list_is_one_that_no_confirmed_mailing_went_to(store: Store, shop: int) -> None:
    first = await mailing(store, shop, "first")
    second = await mailing(store, shop, "second")
    its = Thresholds(unknown_users_floor=4, hard_bounces_floor=1000, complaints_floor=1000)
    for each in (first, second):
        for n in range(4):
            delivery = await put(store, shop, f"n{n}@example.net", mailing=each)
            meaning = Classification("bad_mailbox", Fault.RECIPIENT, Action.FAIL, "no-such-user")
            outcome = Failed(Result(delivery.recipients[0], Stage.RECIPIENT, make.NO_USER), meaning)
            await make.write(store, make.result(delivery, [outcome]))
    assert await look(store, its) == [(f"unknown_users:mailing:{first}", Level.STOP)]


async def test_a_cancellation_needs_an_open_breaker_a_name_and_a_reason(store: Store, shop: int) -> None:
    with pytest.raises(BreakerError, match="no open breaker 'traps:mailing:x'"):
        await store.breakers.cancel("traps:mailing:x", by="ann", reason="why not")
    await settle(store, shop, 5, 5)
    await look(store)
    (tripped,) = await store.breakers.list()
    with pytest.raises(BreakerError, match="needs a name and a reason"):
        await store.breakers.cancel(tripped.name, by="ann", reason=" ")


async def test_a_warning_is_an_event_and_nothing_else(store: Store, shop: int) -> None:
    spring = await mailing(store, shop)
    async with store._database.session() as connection, connection.transaction():
        await delivery_stats.add(connection, MailOrigin(shop, Stream.MARKETING, spring), ONE_TRAP)
    (finding,) = await store.breakers.look({})
    assert (finding.level, finding.scope) == (Level.WARN, MailingScope(shop, spring))
    await store.breakers.warn(finding)
    async with store._database.session() as connection:
        data = orjson.loads(await connection.fetchval("select data from event where kind = 'breaker_warning'"))
    assert data["words"] == "1 spam traps hit (limit 1)"
    assert await store.breakers.list() == []


async def test_old_counts_are_forgotten(store: Store, shop: int) -> None:
    await settle(store, shop, 1, 0)
    await make.execute(store, "update delivery_stats set hour = hour - interval '41 days'")
    await store.breakers.forget()
    assert await make.count(store, "delivery_stats") == 0
