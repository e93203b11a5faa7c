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
from mta.mail.shaping_action import Place
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
    async with dispatching(store, takes=False, shaping=shaping) as rig:
        await crowd(rig, 10 + ASIDE + 5, 1)
        await until(lambda: len(rig.courier.attempts) == 10)
        await until(lambda: rig.active_queue.deliveries == ASIDE)
        assert await rig.queued("lease is null and due_at > now() + interval '59 minutes'") == 5
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
