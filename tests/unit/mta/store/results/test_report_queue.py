"""What came back: taken by one, finished by the last who took it, given up after several tries, followed once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from mta.mail.address import Address
from mta.observe.labels import InboundReportKind
from mta.store.results.apply_report import ReportAction
from mta.store.results.report_queue import MOST, Arrived, Backlog, Overtaken
from mta.store.store import Store
from policy.permission.suppression import Reason, SuppressionRequest
from tests.unit.mta.store import make

BOX = Address.parse("abuse@returns.example.com")
ANN = Address.parse("ann@example.net")


async def arrive(store: Store) -> Arrived:
    await store.report_queue.put(None, [BOX], ip_address("192.0.2.1"), "mx.example.net", b"Subject: x\r\n\r\n")
    (arrived,) = await store.report_queue.take(10)
    return arrived


def consequence(store: Store, mark: bytes = b"m") -> ReportAction:
    act = SuppressionRequest(store.returning.key(ANN), 1, Reason.HARD_BOUNCE, "user-unknown", address=ANN)
    return ReportAction(
        mark, InboundReportKind.BOUNCE, "bounced_async", {"text": "no such user"}, account_id=1, act=act
    )


async def time_is_over(store: Store) -> None:
    await make.execute(store, "update inbound_report set due_at = now()")


async def test_one_takes_it_and_has_it_for_a_while(store: Store) -> None:
    arrived = await arrive(store)
    assert (arrived.recipients, arrived.sender, arrived.taking) == ((BOX,), None, 1)
    assert arrived.content == b"Subject: x\r\n\r\n"
    assert await store.report_queue.take(10) == []
    await time_is_over(store)
    (again,) = await store.report_queue.take(10)
    assert again == replace(arrived, taking=2)


async def test_whoever_was_overtaken_changes_nothing(store: Store) -> None:
    slow = await arrive(store)
    await time_is_over(store)
    (quick,) = await store.report_queue.take(10)
    with pytest.raises(Overtaken):
        await store.returning.apply(slow, [consequence(store)])
    assert await store.suppressions.find(1, [ANN]) == []
    assert len(await store.returning.apply(quick, [consequence(store)])) == 1
    assert len(await store.suppressions.find(1, [ANN])) == 1
    with pytest.raises(Overtaken):
        await store.returning.apply(slow, [consequence(store)])
    assert await store.report_queue.backlog() == Backlog(0, 0)


async def test_what_fails_again_and_again_is_given_up_and_counted(store: Store) -> None:
    arrived = await arrive(store)
    for _ in range(MOST - 1):
        await store.report_queue.put_off(arrived, "a bug", timedelta(0))
        (arrived,) = await store.report_queue.take(10)
    assert arrived.taking == MOST
    await store.report_queue.put_off(arrived, "a bug", timedelta(0))
    assert await store.report_queue.take(10) == []
    assert await store.report_queue.backlog() == Backlog(waiting=0, stuck=1)
    await store.report_queue.sweep()
    assert (await store.report_queue.backlog()).stuck == 1
    await make.execute(store, "update inbound_report set at = now() - interval '31 days'")
    await store.report_queue.sweep()
    assert await store.report_queue.backlog() == Backlog(0, 0)


async def test_an_old_hand_puts_nothing_off(store: Store) -> None:
    slow = await arrive(store)
    await time_is_over(store)
    await store.report_queue.take(10)
    await store.report_queue.put_off(slow, "late", timedelta(0))
    assert await store.report_queue.take(10) == []


async def test_what_was_followed_once_is_not_followed_again(store: Store) -> None:
    first = await arrive(store)
    twice = [consequence(store), consequence(store)]
    assert len(await store.returning.apply(first, twice)) == 1
    assert await store.suppressions.remove(1, ANN, reason="he has a new mailbox")
    assert await store.returning.apply(await arrive(store), twice) == []
    assert await store.suppressions.find(1, [ANN]) == []


async def test_old_marks_are_forgotten(store: Store) -> None:
    await store.returning.apply(await arrive(store), [consequence(store)])
    await make.execute(store, "update processed_report set at = now() - interval '401 days'")
    await store.returning.sweep()
    assert len(await store.returning.apply(await arrive(store), [consequence(store)])) == 1


async def test_what_was_sent_is_known_by_its_id(store: Store) -> None:
    delivery = await make.put(store, "ann@example.net", mailing="spring")
    sent = await store.returning.sent(delivery.message_id)
    assert sent
    assert (sent.account_id, sent.recipients, sent.mailing) == (1, (ANN,), "spring")
    assert str(sent.sender) == "shop@acme.example"
    assert await store.returning.sent(make.message().id) is None
