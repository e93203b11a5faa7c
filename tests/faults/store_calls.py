"""Every kind of store call that a service makes while mail passes, each ready to be made again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from uuid import uuid4

from mta.mail.address import Address
from mta.mail.delivery import Delivery
from mta.observe.labels import InboundReportKind
from mta.store.permission.unsubscribes import UnsubscribeVia
from mta.store.queue.limit_shares import LimitKey, LimitRequest
from mta.store.results.report_actions import CountReport, InboundReport, RecordEvent, Suppress
from mta.store.store import Store
from policy.accounts.quotas import Quota
from policy.permission.suppression import Reason, SuppressionRequest
from policy.permission.tokens import UNSUBSCRIBE, Claim
from tests.unit.mta.store import make

ANN = Address.parse("ann@example.net")
BOX = Address.parse("abuse@returns.example.com")

Call = Callable[[], Awaitable[object]]
Prepare = Callable[[Store], Awaitable[Call]]


async def enqueue(store: Store) -> Call:
    message = make.accepted()
    return lambda: store.messages.enqueue(message, leased=True)


async def claim(store: Store) -> Call:
    await _queued(store)
    return lambda: store.messages.claim(deliveries=10, octets=100_000)


async def content(store: Store) -> Call:
    delivery = await make.put(store)
    return lambda: store.messages.content(delivery.message_id)


async def requeue(store: Store) -> Call:
    delivery = await make.put(store)
    return lambda: store.messages.requeue([delivery])


async def hold(store: Store) -> Call:
    delivery = await make.put(store)
    return lambda: store.messages.hold([delivery], make.hold("a look"))


async def withdraw(store: Store) -> Call:
    message = make.accepted()
    await store.messages.enqueue(message, leased=True)

    async def doubt() -> None:
        store.messages._doubt([([message], store.lease.id)])
        assert store.messages._withdrawing
        await asyncio.wait([store.messages._withdrawing], timeout=2 * store._database.timeout)

    return doubt


async def connect(store: Store) -> Call:
    while store._database._pool._idle:
        store._database._pool._idle.pop()[1].terminate()
    return store.ping


async def listen(store: Store) -> Call:
    return lambda: store.listen(f"c{uuid4().hex}", lambda _: None)


async def renew(store: Store) -> Call:
    return store.lease.renew


async def reap(store: Store) -> Call:
    return store.lease.reap


async def record_delivered(store: Store) -> Call:
    result = make.result(await make.put(store))
    return lambda: store.results.write([result])


async def record_mixed(store: Store) -> Call:
    later, gone = await make.put(store), await make.put(store, "nobody@example.org")
    results = [
        make.result(later, [make.deferred(each) for each in later.recipients]),
        make.result(gone, [make.failed(each) for each in gone.recipients], dsn=make.accepted("shop@acme.example")),
    ]
    return lambda: store.results.write(results)


async def find_suppressions(store: Store) -> Call:
    return lambda: store.suppressions.find(1, [ANN])


async def suppress(store: Store) -> Call:
    return lambda: store.suppressions.apply([_request(store)])


async def take_quota(store: Store) -> Call:
    quota = Quota(f"account:{uuid4()}:day", datetime(2026, 5, 4, tzinfo=UTC), 1000)
    return lambda: store.quotas.take([quota], 3)


async def exchange_limits(store: Store) -> Call:
    requests = [LimitRequest(LimitKey("path:s0:example.net", seconds), 10, 3) for seconds in (0, 60)]
    return lambda: store.egress_limits.exchange(requests)


async def put_report(store: Store) -> Call:
    return lambda: store.report_queue.put(None, [BOX], ip_address("192.0.2.1"), "mx.example.net", b"Subject: x\r\n\r\n")


async def claim_reports(store: Store) -> Call:
    await (await put_report(store))()
    return lambda: store.report_queue.claim(10)


async def apply_report(store: Store) -> Call:
    await (await put_report(store))()
    report: InboundReport = (await store.report_queue.claim(100))[-1]
    key = uuid4().bytes
    actions = [
        CountReport(InboundReportKind.BOUNCE, key),
        RecordEvent(key, "bounced_async", {"text": "no such user"}, account_id=1),
        Suppress(key, _request(store)),
    ]
    return lambda: store.reports.apply(report, actions, lambda _: None)


async def unsubscribe(store: Store) -> Call:
    claim = Claim(UNSUBSCRIBE, 1, uuid4().bytes, "", "")
    return lambda: store.unsubscribes.take(claim, UnsubscribeVia.ONE_CLICK)


async def lease_webhooks(store: Store) -> Call:
    async def turn() -> object:
        return await store.webhooks.lease(await store.outbox.watermark(), 8, 10.0)

    return turn


async def measure(store: Store) -> Call:
    return store.queue.count_states


async def accounts(store: Store) -> Call:
    return store.accounts._fresh.now


CALLS: dict[str, Prepare] = {
    prepare.__name__: prepare
    for prepare in (
        connect, listen, enqueue, claim, content, requeue, hold, withdraw, renew, reap, record_delivered, record_mixed,
        find_suppressions, suppress, take_quota, exchange_limits, put_report, claim_reports, apply_report, unsubscribe,
        lease_webhooks, measure, accounts,
    )
}  # fmt: skip


def _request(store: Store) -> SuppressionRequest:
    address = Address.parse(f"r{uuid4().hex}@example.net")
    return SuppressionRequest(store.suppressions.key(address), 1, Reason.HARD_BOUNCE, "user-unknown", address=address)


async def _queued(store: Store) -> Delivery:
    delivery = await make.put(store)
    await store.messages.requeue([delivery], timedelta(0))
    return delivery
