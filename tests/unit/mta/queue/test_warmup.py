"""The gate of sources that warm up: what is looked up first, who may pass, what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.schema import EgressSettings, ShapingSettings
from mta.delivery.egress import warmup
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.warmup import WarmupPlans
from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Fault,
    Host,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.observe.metrics import Metrics
from mta.queue.active_queue import Job
from mta.queue.outcome import Decision
from mta.queue.warmup import NO_TICKET, WarmupGate, WarmupWait
from mta.store.postgres.secrets import Secrets
from mta.store.store import Store

POOLS = SourcePools(
    EgressSettings.model_validate({"sources": [{"name": n, "address": f"192.0.2.{len(n)}"} for n in ("old", "newer")]})
)
SHAPING = ShapingSettings.model_validate(
    {
        "curves": [{"name": "slow", "daily": [40, 80]}],
        "warmup": [{"source": "newer", "provider": "default", "curve": "slow"}],
    }
)


def job(name: str, stream: Stream = Stream.MARKETING) -> Job:
    recipient = QueuedRecipient(0, Address(name, "example.net"))
    now = datetime.now(UTC)
    return Job(Delivery(new_message_id(), "example.net", None, (recipient,), 7, now, now, 1000, stream=stream), None)


class Gate:
    """A gate, and the jobs that it has placed."""

    def __init__(self, store: Store) -> None:
        self.placed: list[Job] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.gate = WarmupGate(store.warmup_days, store.recipient_activity, Metrics(), self.placed.append, self._spawn)
        self.gate.plans = WarmupPlans(SHAPING, POOLS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def looked_up(self, *jobs: Job) -> None:
        assert all(self.gate.must_look_up(each, POOLS.default, "default") for each in jobs)
        await asyncio.gather(*self._tasks)
        assert self.placed == list(jobs)

    def able(self, each: Job) -> list[str]:
        return [source.name for source in self.gate.with_room(POOLS.sources, "default", each)]


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release of a day's volume as if it were noon: enough for all, for those without contact nothing."""
    monkeypatch.setattr(warmup, "_since_midnight", lambda at: timedelta(hours=12))
    monkeypatch.setattr(warmup, "LATER", timedelta(hours=24))


async def test_recipients_with_recent_contact_pass_others_take_the_warm_source(store: Store, secrets: Secrets) -> None:
    async with store.events._database.session() as connection:
        key = secrets.address_key(Address("ann", "example.net"))
        await connection.execute(
            "insert into recipient_activity (address_key, account_id, clicked_at) values ($1, 7, now())", key
        )
    subject = Gate(store)
    ann, bob, receipt = job("ann"), job("bob"), job("eve", Stream.TRANSACTIONAL)
    await subject.looked_up(ann, bob, receipt)
    assert (ann.engaged, bob.engaged, receipt.engaged) == (True, False, True)
    assert [subject.able(each) for each in (ann, bob, receipt)] == [["old", "newer"], ["old"], ["old", "newer"]]
    assert not subject.gate.must_look_up(ann, POOLS.default, "gmail")  # no plan there
    assert not subject.gate.must_look_up(ann, POOLS.default, "default")  # known by now
    with pytest.raises(WarmupWait):
        subject.gate.with_room([source for source in POOLS.sources if source.name == "newer"], "default", bob)


async def test_what_was_sent_is_counted_and_what_was_not_is_given_back(store: Store) -> None:
    subject = Gate(store)
    each = job("ann", Stream.TRANSACTIONAL)
    await subject.looked_up(each)
    assert subject.gate.take("old", "default", each) is NO_TICKET
    plan = subject.gate.plans.of("newer", "default")
    assert plan is not None
    now, recipient = datetime.now(UTC), each.delivery.recipients[0]

    def decided(*outcomes: Delivered | Deferred) -> Decision:
        results = tuple(outcome.result for outcome in outcomes)
        return Decision(Attempt(each.delivery, results, now, 0.1, Host("mx", "192.0.2.9")), outcomes)

    blocked = Classification("bad_reputation", Fault.SENDER, Action.RETRY, "rule")
    good = Delivered(Result(recipient, Stage.FINAL_DOT, Reply(250, "2.0.0", "ok")))
    bad = Deferred(Result(recipient, Stage.RECIPIENT, Reply(421, "4.7.0", "blocked")), blocked, now)
    lost = Deferred(Result(recipient, Stage.CONNECT, Reply(451, "4.4.1", "no answer")), blocked, now)
    for decision in (decided(good), decided(good), decided(bad), decided(lost), None):
        if not store.warmup_days.knows(plan):  # the last block is used up
            await store.warmup_days.ask([plan], 1)
        ticket = subject.gate.take("newer", "default", each)
        assert ticket is not None
        if decision is None:
            ticket.cancel()
        else:
            ticket.settle(decision)
    await store.warmup_days.stop()
    (day,) = await store.warmup_days.latest()
    assert (day.used, day.good, day.bad) == (3, 2, 2)
