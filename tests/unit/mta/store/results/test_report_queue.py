"""Inbound reports: claimed by one worker, finished by the last one that claimed it, given up after several tries,
applied once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from mta.mail.address import Address
from mta.observe.labels import InboundReportKind
from mta.store.queue.enqueue import NewMessage
from mta.store.results.report_actions import (
    CountReport,
    FactsQuery,
    Forward,
    InboundReport,
    RecordEvent,
    ReportAction,
    ReportFacts,
    SendReceipt,
    Suppress,
)
from mta.store.results.report_queue import MAX_TRIES, Backlog, ReportReclaimed
from mta.store.store import Store
from policy.permission.suppression import Reason, SuppressionRequest
from tests.unit.mta.store import make

BOX = Address.parse("abuse@returns.example.com")
ANN = Address.parse("ann@example.net")


async def arrive(store: Store) -> InboundReport:
    await store.report_queue.put(None, [BOX], ip_address("192.0.2.1"), "mx.example.net", b"Subject: x\r\n\r\n")
    (arrived,) = await store.report_queue.claim(10)
    return arrived


def actions(store: Store, key: bytes = b"key") -> list[ReportAction]:
    request = SuppressionRequest(store.suppressions.key(ANN), 1, Reason.HARD_BOUNCE, "user-unknown", address=ANN)
    return [
        CountReport(InboundReportKind.BOUNCE, key),
        RecordEvent(key, "bounced_async", {"text": "no such user"}, account_id=1),
        Suppress(key, request),
    ]


class NoMail:
    """Nothing is to be sent."""

    def forward(self, forward: Forward) -> NewMessage | None:
        return None

    def receipt(self, receipt: SendReceipt, case_id: int | None) -> NewMessage | None:
        return None


async def apply(store: Store, report: InboundReport, key: bytes = b"key") -> bool:
    """Whether the actions were applied, not known before."""
    wanted = actions(store, key)
    applied = await store.reports.apply(report, wanted, NoMail())
    assert applied in (wanted, [])
    return applied == wanted


async def time_is_over(store: Store) -> None:
    await make.execute(store, "update inbound_report set due_at = now()")


async def test_one_worker_claims_it_for_a_while(store: Store) -> None:
    arrived = await arrive(store)
    assert (arrived.recipients, arrived.sender, arrived.tries) == ((BOX,), None, 1)
    assert arrived.content == b"Subject: x\r\n\r\n"
    assert await store.report_queue.claim(10) == []
    await time_is_over(store)
    (again,) = await store.report_queue.claim(10)
    assert again == replace(arrived, tries=2)


async def test_only_the_last_claim_changes_anything(store: Store) -> None:
    slow = await arrive(store)
    await time_is_over(store)
    (quick,) = await store.report_queue.claim(10)
    with pytest.raises(ReportReclaimed):
        await apply(store, slow)
    assert await store.suppressions.find(1, [ANN]) == []
    assert await apply(store, quick)
    assert len(await store.suppressions.find(1, [ANN])) == 1
    with pytest.raises(ReportReclaimed):
        await apply(store, slow)
    assert await store.report_queue.backlog() == Backlog(0, 0)


async def test_what_fails_again_and_again_is_given_up_and_counted(store: Store) -> None:
    arrived = await arrive(store)
    for _ in range(MAX_TRIES - 1):
        await store.report_queue.postpone(arrived, "a bug", timedelta(0))
        (arrived,) = await store.report_queue.claim(10)
    assert arrived.tries == MAX_TRIES
    await store.report_queue.postpone(arrived, "a bug", timedelta(0))
    assert await store.report_queue.claim(10) == []
    assert await store.report_queue.backlog() == Backlog(waiting=0, failed=1)
    await store.report_queue.sweep()
    assert (await store.report_queue.backlog()).failed == 1
    await make.execute(store, "update inbound_report set at = now() - interval '31 days'")
    await store.report_queue.sweep()
    assert await store.report_queue.backlog() == Backlog(0, 0)


async def test_an_old_claim_postpones_nothing(store: Store) -> None:
    slow = await arrive(store)
    await time_is_over(store)
    await store.report_queue.claim(10)
    await store.report_queue.postpone(slow, "late", timedelta(0))
    assert await store.report_queue.claim(10) == []


async def test_what_was_applied_once_is_not_applied_again(store: Store) -> None:
    assert await apply(store, await arrive(store))
    assert await store.suppressions.remove(1, ANN, reason="he has a new mailbox")
    assert not await apply(store, await arrive(store))
    assert await store.suppressions.find(1, [ANN]) == []
    assert await make.count(store, "event where kind = 'bounced_async'") == 1


async def test_old_dedup_keys_are_deleted(store: Store) -> None:
    assert await apply(store, await arrive(store))
    await make.execute(store, "update processed_report set at = now() - interval '401 days'")
    await store.reports.sweep()
    assert await apply(store, await arrive(store))


async def test_all_facts_are_read_at_once(store: Store) -> None:
    delivery = await make.put(store, "ann@example.net", "ben@example.net", mailing="spring")
    await make.write(store, make.result(delivery, provider="gmail"))
    unknown = make.message().id
    query = FactsQuery(((delivery.message_id, None), (unknown, 0)), ("summer", "spring"), 17)
    facts = await store.reports.facts(query)
    assert list(facts.messages) == [delivery.message_id]
    sent = facts.messages[delivery.message_id]
    assert (sent.account_id, sent.recipients, sent.mailing) == (1, (ANN, Address.parse("ben@example.net")), "spring")
    assert str(sent.sender) == "shop@acme.example"
    assert sent.providers == {0: "gmail", 1: "gmail"}
    assert (facts.mailing, facts.case_account) == (None, None)
    one = await store.reports.facts(FactsQuery(((delivery.message_id, 1),)))
    assert one.messages[delivery.message_id].providers == {1: "gmail"}
    assert await store.reports.facts(FactsQuery()) == ReportFacts()
