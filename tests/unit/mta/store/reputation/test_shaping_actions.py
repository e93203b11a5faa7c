"""Shaping actions in the store: begun once, known to every process, ended by name; what they put off is due then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.schema import DatabaseSettings
from mta.delivery.egress.actions import ActionsInForce
from mta.mail.message import Stream
from mta.mail.shaping_action import ActionScope, Effect, NewAction, ShapingAction
from mta.store.postgres.secrets import Secrets
from mta.store.reputation.shaping_actions import ActionError
from mta.store.store import Store
from policy.accounts.account import AccountStatus
from tests.unit.mta.store import make

SCOPE = ActionScope(source="mta-1", site="gmail", stream=Stream.MARKETING)
SITE = ActionScope(site="gmail")


def new(scope: ActionScope = SCOPE, effect: Effect = Effect.PAUSE, seconds: float = 600, **more: Any) -> NewAction:
    return NewAction("a-rule", scope, effect, "why", "test", seconds, rule="a-rule", sample="421 slow", **more)


async def rows(store: Store, question: str) -> list[Any]:
    async with store._database.session() as connection:
        return list(await connection.fetch(question))


async def test_one_of_a_kind_is_in_force_at_a_time_and_all_that_is_known_of_it_is_kept(store: Store) -> None:
    action = await store.shaping_actions.begin(new(effect=Effect.LIMIT, connections=1, message_rates=("30/m",)))
    assert action is not None
    assert (action.scope, action.effect, action.connections, action.message_rates) == (
        SCOPE, Effect.LIMIT, 1, ("30/m",),
    )  # fmt: skip
    assert action.expires_at - action.created_at == timedelta(seconds=600)
    assert await store.shaping_actions.begin(new(effect=Effect.LIMIT, connections=1)) is None
    other = await store.shaping_actions.begin(new(SITE, Effect.LIMIT, connections=1))
    assert other is not None
    assert list(store.shaping_actions.known) == [action, other]
    assert [each.id for each in await store.shaping_actions.list()] == [other.id, action.id]
    assert [each.id for each in await store.shaping_actions.find("a-rule")] == [other.id, action.id]
    kinds = [row["kind"] for row in await rows(store, "select kind from event where message_id is null order by id")]
    assert kinds == ["shaping_action", "shaping_action"]


async def test_two_workers_that_see_the_same_reply_begin_one_action(store: Store) -> None:
    begun = await asyncio.gather(*(store.shaping_actions.begin(new()) for _ in range(5)))
    assert sum(action is not None for action in begun) == 1


async def test_a_cancellation_makes_due_what_waits_for_the_action_and_nothing_else(store: Store) -> None:
    action, other = await store.shaping_actions.begin(new()), await store.shaping_actions.begin(new(SITE))
    assert action is not None
    assert other is not None
    mine, theirs, deferred = [await make.put(store, f"r{n}@example.net") for n in range(3)]
    await store.messages.requeue([mine], timedelta(minutes=9), action.id)
    await store.messages.requeue([theirs], timedelta(minutes=9), other.id)
    await store.messages.requeue([deferred], timedelta(minutes=9))
    assert await store.shaping_actions.waiting(action) == 1
    with pytest.raises(ActionError, match="a name and a reason"):
        await store.shaping_actions.cancel([action], by="ann", reason=" ")
    ended = await store.shaping_actions.cancel([action], by="ann", reason="solved")
    assert ended.due == 1
    claimed = await store.messages.claim(deliveries=10, octets=10**9)
    assert [each.message_id for each in claimed] == [mine.message_id]
    with pytest.raises(ActionError, match="not in force"):
        await store.shaping_actions.cancel([action], by="ann", reason="again")
    # What comes too late for the cancellation is not put off by it.
    await store.messages.requeue(claimed, timedelta(minutes=9), action.id)
    assert [each.message_id for each in await store.messages.claim(deliveries=10, octets=10**9)] == [mine.message_id]


async def test_claimed_mail_waits_for_nothing_any_more(store: Store) -> None:
    action = await store.shaping_actions.begin(new(seconds=1000))
    assert action is not None
    delivery = await make.put(store)
    await store.messages.requeue([delivery], timedelta(0), action.id)
    (claimed,) = await store.messages.claim(deliveries=10, octets=10**9)
    await store.messages.requeue([claimed], timedelta(hours=1))
    assert (await store.shaping_actions.cancel([action], by="ann", reason="x")).due == 0


async def test_a_held_mailing_goes_on_when_the_action_ends(store: Store) -> None:
    account = (await store.accounts.add("shop", status=AccountStatus.ACTIVE, by="test")).id
    mailing = await store.mailings.add(account, "spring", topic="offers", list="all", by="ann")
    await store.mailings.confirm(mailing.id, by="ann", terms="1")
    scope = ActionScope(account_id=account, mailing=mailing.id)
    action = await store.shaping_actions.begin(new(scope, Effect.HOLD_MAILING))
    assert action is not None
    record = await store.mailings.show(mailing.id)
    assert record is not None
    assert record.mailing.stopped == "why"
    async with store._database.session() as connection:
        await connection.execute("update shaping_action set expires_at = now()")
    assert [each.id for each in await store.shaping_actions.settle_ended()] == [action.id]
    record = await store.mailings.show(mailing.id)
    assert record is not None
    assert record.mailing.stopped is None
    assert await store.shaping_actions.settle_ended() == []


async def test_counts_of_all_workers_within_the_window_and_not_before_the_last_action(store: Store) -> None:
    for _ in range(2):
        store.reply_counts.count("a-rule", SITE, replies=0, matched=1, sample="421 slow")
        store.reply_counts.count("a-rule", SITE, replies=1, matched=0)
        await store.reply_counts.flush()
    (counted,) = await store.reply_counts.windows({"a-rule": 3600.0})
    assert (counted.scope, counted.replies, counted.matched, counted.sample) == (SITE, 2, 2, "421 slow")
    assert await store.reply_counts.windows({"another": 3600.0}) == []
    await store.shaping_actions.begin(new(SITE))
    assert await store.reply_counts.windows({"a-rule": 3600.0}) == []


async def until(store: Store, fits: Callable[[Sequence[ShapingAction]], bool]) -> None:
    """Wait until a process knows it, by notification: without one it would look again after half a minute."""
    changed = asyncio.Event()
    store.shaping_actions.watch(changed.set)
    async with asyncio.timeout(10):
        while not fits(store.shaping_actions.known):
            await changed.wait()
            changed.clear()


async def test_a_cancelled_action_ends_in_every_process(store: Store, database_url: str, secrets: Secrets) -> None:
    others = [await Store.open(database_url, DatabaseSettings(), secrets) for _ in range(2)]  # two machines
    action = await store.shaping_actions.begin(new())
    assert action is not None
    for each in others:
        await until(each, lambda known: action in known)
    await others[0].shaping_actions.cancel([action], by="ann", reason="solved")
    for each in (store, *others):
        await until(each, lambda known: all(other.cancelled_at for other in known))
        assert not ActionsInForce(each.shaping_actions.known).is_paused("mta-1", "gmail", (), datetime.now(UTC))
    for each in others:
        await each.close()
