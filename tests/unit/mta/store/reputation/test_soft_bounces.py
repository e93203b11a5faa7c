"""Soft bounces: counted with the outcome, ended by a delivery, and too many of them suppress."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from bounce.suppression import SoftBounce, SoftBounceThresholds, Threshold
from config.schema import RetentionSettings
from mta.mail.address import Address
from mta.mail.delivery import Action, Delivery, Failed, Fault
from mta.store.privacy.erasure import forget
from mta.store.results.report_actions import RecordSoftBounce
from mta.store.store import Store
from policy.base import Suppression
from policy.permission.suppression import Reason
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
THRESHOLDS = SoftBounceThresholds({"mailbox_full": Threshold(3, timedelta(days=30), 2)}, soft_lasts=timedelta(days=180))


@pytest.fixture
async def strict(store: Store) -> Store:
    store.configure(THRESHOLDS)
    return store


def full(delivery: Delivery, fault: Fault = Fault.RECIPIENT, category: str = "mailbox_full") -> Failed:
    failed = make.failed(delivery.recipients[0], Action.FAIL)
    return replace(failed, classification=replace(failed.classification, category=category, fault=fault))


async def bounce(store: Store, mailing: str | None, **meaning: object) -> None:
    delivery = await make.put(store, str(ANN), mailing=mailing)
    await make.write(store, make.result(delivery, [full(delivery, **meaning)]))  # type: ignore[arg-type]


async def age(store: Store, days: int) -> None:
    await make.execute(store, "update soft_bounce set day = day - $1::int", days)


async def suppressed(store: Store) -> list[Suppression]:
    return await store.suppressions.find(1, [ANN])


async def test_enough_of_them_over_enough_mailings_suppress_for_a_time(strict: Store) -> None:
    await bounce(strict, "spring")
    await age(strict, 9)
    await bounce(strict, "summer")
    assert await suppressed(strict) == []
    await age(strict, 9)
    waiting = make.accepted(str(ANN))
    await strict.messages.enqueue(waiting, leased=False)
    await bounce(strict, "summer")
    (found,) = await suppressed(strict)
    assert (found.reason, found.detail, found.rule, found.topic) == (
        Reason.SOFT_BOUNCES,
        "mailbox_full",
        "no-such-user",
        "",
    )
    assert found.until is not None
    assert timedelta(days=179) < found.until - datetime.now(UTC) <= timedelta(days=180)
    (recorded,) = await strict.suppressions.of(ANN)
    assert recorded.evidence.startswith("3 soft bounces; last: mx1.example.net said 550")
    assert recorded.message_id is not None
    assert [event.kind for event in await strict.events.of_message(waiting.message.id)] == ["dropped"]
    assert await make.count(strict, "soft_bounce") == 0


async def test_one_mailing_is_not_enough_however_often_it_fails(strict: Store) -> None:
    for _ in range(5):
        await bounce(strict, "spring")
        await age(strict, 1)
    assert await suppressed(strict) == []


async def test_those_of_one_day_and_mailing_are_one(strict: Store) -> None:
    for mailing in ("spring", "spring", "summer", "summer"):
        await bounce(strict, mailing)
    assert await make.count(strict, "soft_bounce") == 2
    assert await suppressed(strict) == []


async def test_mail_without_a_mailing_counts_by_days(strict: Store) -> None:
    for _ in range(3):
        await bounce(strict, None)
        await age(strict, 1)
    assert [each.reason for each in await suppressed(strict)] == [Reason.SOFT_BOUNCES]


async def test_those_long_ago_do_not_count(strict: Store) -> None:
    await bounce(strict, "spring")
    await bounce(strict, "summer")
    await age(strict, 30)
    await bounce(strict, "autumn")
    assert await suppressed(strict) == []


@pytest.mark.parametrize("whole", [True, False])
async def test_a_delivery_ends_the_count_and_lifts_nothing(strict: Store, whole: bool) -> None:
    await bounce(strict, "spring")
    await bounce(strict, "summer")
    delivery = await make.put(strict, str(ANN))
    await strict.suppressions.add(1, ANN, Reason.MANUAL, topic="news")
    await make.write(strict, make.result(replace(delivery, whole=whole)))
    assert await make.count(strict, "soft_bounce") == 0
    assert [each.topic for each in await suppressed(strict)] == ["news"]


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.RECIPIENT])
async def test_what_is_not_the_recipients_fault_is_not_counted(strict: Store, fault: Fault) -> None:
    for mailing in ("spring", "summer", "autumn", "winter"):
        await bounce(strict, mailing, fault=fault)
    assert await make.count(strict, "soft_bounce") == 0
    assert await suppressed(strict) == []


async def test_nor_are_categories_without_a_threshold_and_what_waits(strict: Store) -> None:
    await bounce(strict, "spring", category="recipient_refuses")
    delivery = await make.put(strict, str(ANN))
    deferred = make.deferred(delivery.recipients[0])
    deferred = replace(deferred, classification=full(delivery).classification)
    await make.write(strict, make.result(delivery, [deferred]))
    assert await make.count(strict, "soft_bounce") == 0


async def test_a_hard_bounce_may_end_too(store: Store) -> None:
    store.configure(replace(THRESHOLDS, hard_lasts=timedelta(days=365)))
    delivery = await make.put(store, str(ANN))
    await make.write(store, make.result(delivery, [make.failed(delivery.recipients[0], Action.SUPPRESS)]))
    (found,) = await suppressed(store)
    assert found.until is not None
    assert found.until - found.since > timedelta(days=364)


async def test_those_that_come_by_mail_are_counted_likewise(strict: Store) -> None:
    for mailing in ("a", "b", "c"):
        assert await suppressed(strict) == []
        bounce = SoftBounce(strict.suppressions.key(ANN), 1, "mailbox_full", mailing, "rule", "552 full", ANN)
        await strict.report_queue.put(None, [ANN], ip_address("192.0.2.1"), "mx", b"x")
        (inbound,) = await strict.report_queue.claim(1)
        await strict.reports.apply(inbound, [RecordSoftBounce(mailing.encode(), bounce)], lambda _: None)
    assert [each.until is None for each in await suppressed(strict)] == [False]
    assert await make.count(strict, "soft_bounce") == 0


async def test_time_ends_both_the_count_and_the_suppression(strict: Store) -> None:
    now = datetime.now(UTC)
    await bounce(strict, "spring")
    ended = strict.suppressions.act(1, ANN, Reason.SOFT_BOUNCES, expires_at=now + timedelta(days=180))
    await strict.suppressions.apply([ended])
    forgotten = await forget(strict._database, now + timedelta(days=179), RetentionSettings())
    assert (forgotten.expired, forgotten.soft) == (0, 0)
    forgotten = await forget(strict._database, now + timedelta(days=402), RetentionSettings())
    assert (forgotten.expired, forgotten.soft) == (1, 1)
    because = "event where kind = 'unsuppressed' and data ->> 'because' = 'its time was over'"
    assert await make.count(strict, because) == 1
