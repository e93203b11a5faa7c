"""Limits of accounts and mailings at a site."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from config.schema import ShapingSettings
from mta.mail.delivery import QueuedRecipient, Stage
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.mail.shaping_action import ActionScope, Effect, NewAction, Place, ShapingAction
from mta.observe.background import BackgroundTasks
from mta.queue.limit_leasing import LimitLeasing
from mta.queue.requeue import Requeue
from mta.queue.tenant_limits import ASIDE, TenantLimits
from mta.store.store import Store
from policy.accounts.account import Account
from tests.unit.mta.queue.rig import Rig, dispatching, route, yes
from tests.unit.mta.store.make import until

NAMES = {1: "acme", 2: "shop"}


class Accounts:
    def by_id(self, number: int) -> Account | None:
        return Account(number, NAMES[number], frozenset(), "none") if number in NAMES else None


def limits(store: Store, *tenants: dict[str, Any]) -> TenantLimits:
    tasks = BackgroundTasks()
    leasing = LimitLeasing(store.egress_limits, store.lease, tasks, lambda: None)
    settings = ShapingSettings.model_validate({"tenants": list(tenants)})
    return TenantLimits(settings, Accounts(), leasing, Requeue(store.messages, tasks))


def totals(subject: TenantLimits, account: int, mailing: str | None, site: str, provider: str) -> dict[str, list[int]]:
    """The limits that hold, by scope: connections and rates."""
    place = Place("default", site, site, account, Stream.MARKETING, mailing)
    return {
        tenant.permits.scope: [share.total for share in tenant.permits.shares] for tenant in subject.of(place, provider)
    }


async def test_which_limits_hold_for_whom(store: Store) -> None:
    subject = limits(
        store,
        {"connections": 9},
        {"account": "shop", "provider": "gmail", "connections": 3, "message_rates": ["5/s"]},
        {"account": "shop", "mailing": "*", "message_rates": ["2/s"]},
        {"mailing": "spring", "provider": "default", "connections": 1},
    )
    assert totals(subject, 1, None, "a.example", "default") == {"account:1:a.example": [9]}
    assert totals(subject, 2, None, "gmail", "gmail") == {"account:2:gmail": [3, 5]}
    assert totals(subject, 2, "autumn", "gmail", "gmail") == {
        "account:2:gmail": [3, 5],
        "mailing:2:gmail/autumn": [2],
    }
    assert totals(subject, 1, "spring", "b.example", "default") == {
        "account:1:b.example": [9],
        "mailing:1:b.example/spring": [1],
    }
    assert totals(subject, 0, None, "gmail", "gmail") == {}, "the service's own mail"
    assert totals(limits(store), 1, None, "gmail", "gmail") == {}


async def crowd(rig: Rig, number: int, account: int) -> None:
    for n in range(number):
        await rig.submit(f"a{account}.{n}@example.net", account_id=account)


def running(rig: Rig) -> Counter[str]:
    """Attempts so far, by account."""
    return Counter(address.partition(".")[0] for (address,) in rig.courier.attempts)


async def test_an_account_at_its_limit_does_not_keep_another_from_its_site(store: Store) -> None:
    shaping = {"tenants": [{"connections": 2}]}
    async with dispatching(store, takes=False, shaping=shaping) as rig:
        rig.resolver.routes["example.net"] = route(connections=10, initial_connections=10)
        rig.courier.hold()
        await crowd(rig, 8, 1)
        await crowd(rig, 4, 2)
        await until(lambda: running(rig) == {"a1": 2, "a2": 2})
        await asyncio.sleep(0.1)
        assert rig.courier.running == 4
        rig.courier.let(100)
        await rig.settled()
        assert running(rig) == {"a1": 8, "a2": 4}
        assert rig.courier.most == 4


async def test_a_rate_of_an_account_is_kept_and_what_is_too_much_waits_in_the_store(store: Store) -> None:
    shaping = {"tenants": [{"account": "acme", "message_rates": ["10/h"]}]}
    put_off = "lease is null and due_at > now() + interval '59 minutes'"
    async with dispatching(store, takes=False, shaping=shaping) as rig:
        await crowd(rig, 10 + ASIDE + 5, 1)
        await until(lambda: len(rig.courier.attempts) == 10)
        await until(lambda: rig.active_queue.deliveries <= ASIDE)
        async with asyncio.timeout(10):  # some that were about to start when the rate was used up go back, too
            while rig.active_queue.deliveries + await rig.queued(put_off) != ASIDE + 5:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.005)
        assert ASIDE - 5 <= rig.active_queue.deliveries <= ASIDE
        rig.dispatcher.queue_changed()
        await rig.settled()
        assert len(rig.courier.attempts) == 10


async def test_a_rate_lets_what_waits_go_on(store: Store) -> None:
    shaping = {"tenants": [{"message_rates": ["4/s"]}]}
    times: list[float] = []

    def answer(recipient: QueuedRecipient) -> tuple[Stage, Reply]:
        times.append(time.monotonic())
        return yes(recipient)

    async with dispatching(store, takes=False, shaping=shaping) as rig:
        rig.courier.answer = answer
        await crowd(rig, 10, 1)
        await rig.settled()
        assert all(late - early >= 0.99 for early, late in zip(times, times[4:], strict=False))


@pytest.mark.parametrize("limit", [1, 3])
async def test_limits_of_a_mailing_hold_over_two_workers(store: Store, other: Store, limit: int) -> None:
    shaping = {"tenants": [{"mailing": "*", "connections": limit}]}
    async with (
        dispatching(store, takes=False, shaping=shaping) as one,
        dispatching(other, takes=False, shaping=shaping) as two,
    ):
        for rig in (one, two):
            rig.resolver.routes["example.net"] = route(connections=10, initial_connections=10)
            rig.courier.hold()
            for n in range(5):
                await rig.submit(f"m{n}@example.net", mailing="spring", stream=Stream.MARKETING)
        await until(lambda: one.courier.running + two.courier.running == limit)
        one.courier.let(100)
        two.courier.let(100)
        await one.settled()
        await two.settled()
        assert one.courier.most + two.courier.most <= 2 * limit


async def begin(rig: Rig, scope: ActionScope, seconds: float = 600, **more: Any) -> ShapingAction:
    """Begin a limit, which the dispatcher follows as in the service."""
    new = NewAction("slow", scope, Effect.LIMIT, "too much", "test", seconds, **more)
    action = await rig.store.shaping_actions.begin(new)
    assert action is not None
    return action


@pytest.mark.parametrize(
    ("scope", "most"),
    [
        pytest.param(ActionScope(account_id=1), {"a1": 2, "a2": 5}, id="account"),
        pytest.param(ActionScope(account_id=1, site="example.net"), {"a1": 2, "a2": 5}, id="account and site"),
        pytest.param(ActionScope(account_id=1, site="other.example"), {"a1": 5, "a2": 5}, id="another site"),
        pytest.param(ActionScope(account_id=1, mailing="spring"), {"a1": 5, "a2": 5}, id="mail of no mailing"),
        pytest.param(ActionScope(stream=Stream.TRANSACTIONAL, account_id=2), {"a1": 5, "a2": 2}, id="stream"),
    ],
)
async def test_a_limit_action_holds_for_the_mail_in_its_scope(
    store: Store, scope: ActionScope, most: dict[str, int]
) -> None:
    async with dispatching(store, takes=False) as rig:
        store.shaping_actions.watch(rig.dispatcher.actions_changed)
        rig.resolver.routes["example.net"] = route(connections=20, initial_connections=20)
        rig.courier.hold()
        await begin(rig, scope, connections=2)
        await crowd(rig, 5, 1)
        await crowd(rig, 5, 2)
        await until(lambda: running(rig) == most)
        await asyncio.sleep(0.1)
        assert running(rig) == most
        rig.courier.let(100)
        await rig.settled()
        assert running(rig) == {"a1": 5, "a2": 5}


async def test_a_limit_on_a_domain_is_none_on_another_of_the_same_site(store: Store) -> None:
    async with dispatching(store, takes=False) as rig:
        store.shaping_actions.watch(rig.dispatcher.actions_changed)
        site = route(connections=20, initial_connections=20)
        rig.resolver.routes |= {"example.net": site, "second.example": site}
        rig.courier.hold()
        await begin(rig, ActionScope(domain="example.net"), connections=1)
        for n in range(4):
            await rig.submit(f"one.{n}@example.net")
            await rig.submit(f"two.{n}@second.example")
        await until(lambda: running(rig) == {"one": 1, "two": 4})
        rig.courier.let(100)
        await rig.settled()


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "expired"])
async def test_the_end_of_a_limit_lets_all_go_on_that_waited_for_it(store: Store, cancelled: bool) -> None:
    async with dispatching(store, takes=False) as rig:
        store.shaping_actions.watch(rig.dispatcher.actions_changed)
        rig.resolver.routes["example.net"] = route(connections=100, initial_connections=100)
        action = await begin(rig, ActionScope(account_id=1), 600 if cancelled else 3, message_rates=("2/h",))
        await crowd(rig, 2, 1)
        await until(lambda: len(rig.courier.attempts) == 2)
        await crowd(rig, ASIDE + 3, 1)
        if cancelled:
            put_off = f"lease is null and waits_for = {action.id} and due_at > now() + interval '9 minutes'"
            await until(lambda: rig.active_queue.deliveries == ASIDE)
            assert await rig.queued(put_off) == 3, "no later than the end of the action"
            done = await store.shaping_actions.cancel([action], by="test", reason="solved")
            assert done.due == 3
        await until(lambda: len(rig.courier.attempts) >= 2 + ASIDE)
        await rig.settled()


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param(ActionScope(account_id=1, site="example.net"), id="account"),
        pytest.param(ActionScope(site="example.net"), id="whole paths"),
    ],
)
async def test_a_limit_action_holds_over_two_instances_soon_after_it_begins(
    store: Store, other: Store, scope: ActionScope
) -> None:
    async with dispatching(store, takes=False) as one, dispatching(other, takes=False) as two:
        rigs = (one, two)
        for rig in rigs:
            await rig.store.shaping_actions.start()
            rig.store.shaping_actions.watch(rig.dispatcher.actions_changed)
            rig.resolver.routes["example.net"] = route(connections=12, initial_connections=12)
            rig.courier.hold()
            await crowd(rig, 20, 1)
        await until(lambda: sum(rig.courier.running for rig in rigs) == 12)
        action = await begin(one, scope, connections=3)
        async with asyncio.timeout(10):
            await until(lambda: any(each.id == action.id for each in other.shaping_actions.known))
            while sum(rig.courier.running for rig in rigs) > 3:
                for rig in rigs:
                    rig.courier.let(rig.courier.running > 0)
                await asyncio.sleep(0.02)
        await until(lambda: sum(rig.courier.running for rig in rigs) == 3)
        begun = sum(len(rig.courier.attempts) for rig in rigs)
        await asyncio.sleep(0.2)
        assert sum(len(rig.courier.attempts) for rig in rigs) == begun < 40
        for rig in rigs:
            rig.courier.most = 0
            rig.courier.let(100)
        await asyncio.gather(one.settled(), two.settled())
        assert sum(len(rig.courier.attempts) for rig in rigs) == 40
        assert all(rig.courier.most <= 3 for rig in rigs)
