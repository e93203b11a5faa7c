from __future__ import annotations

from datetime import UTC, datetime

from config.schema import Shaping
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.sources import SYSTEM_SOURCE
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.path_limits import Permits
from mta.queue.ready_queue import SOON, ReadyQueue
from mta.queue.throttle import Throttle
from mta.store.queue.limit_shares import LimitAnswer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = {Stream.TRANSACTIONAL: 4, Stream.MARKETING: 1}
OURS, OTHER = Stream.TRANSACTIONAL, Stream.MARKETING


def job(
    account: int = 1,
    mailing: str | None = None,
    stream: Stream = Stream.TRANSACTIONAL,
    size: int = 10,
    priority: int = 0,
) -> Job:
    to = QueuedRecipient(0, Address("ann", "example.net"))
    delivery = Delivery(
        new_message_id(),
        "example.net",
        None,
        (to,),
        account,
        NOW,
        NOW,
        size=size,
        mailing=mailing,
        stream=stream,
        priority=priority,
    )
    return Job(delivery, None)


def equal(_: int) -> float:
    """The weight of an account where all are equal."""
    return 1


def permits() -> Permits:
    """More connections than any test needs."""
    found = Permits("site")
    found.limit(1000, ())
    assert found.connections is not None
    found.connections.answered(LimitAnswer(1000, 1000), 0)
    return found


def ready_queue() -> ReadyQueue:
    return ReadyQueue(
        EgressPath(SYSTEM_SOURCE, "site", Shaping()),
        Throttle(ceiling=4, initial=2, backoff=60, backoff_after=3),
        permits(),
        WEIGHTS,
        equal,
    )


def test_in_order_for_one_mailing() -> None:
    subject, sent = ready_queue(), [job() for _ in range(3)]
    for each in sent:
        subject.add(each)
    assert [subject.take() for _ in range(4)] == [*sent, None]


def test_startable_is_bounded_by_window_and_by_what_waits() -> None:
    subject = ready_queue()
    assert subject.startable(0) == 0
    for _ in range(9):
        subject.add(job())
    assert subject.startable(0) == 2
    subject.connections.begin()
    assert subject.startable(0) == 1


def test_take_all_empties() -> None:
    subject, sent = ready_queue(), [job(), job(2), job(), job(stream=OTHER)]
    for each in sent:
        subject.add(each)
    assert subject.waiting == 4
    assert set(subject.take_all()) == set(sent)
    assert (subject.waiting, subject.take(), subject.idle) == (0, None, True)


def full_of(subject: ReadyQueue, waiting: int) -> ReadyQueue:
    for _ in range(waiting):
        subject.add(job())
    return subject


def test_as_much_is_claimed_as_may_start_at_once_or_will_soon() -> None:
    subject, roomy = ready_queue(), ActiveQueue(1000, 10**6)
    assert subject.claimable(OURS, roomy, 0) == 2
    full_of(subject, 2)
    assert subject.claimable(OURS, roomy, 0) == 0
    for _ in range(2):
        subject.take()
    subject.flows[OURS].measure(1.0)
    assert subject.claimable(OURS, roomy, 0) == 2 * SOON
    subject.flows[OURS].measure(1.0)  # a second without any
    assert subject.claimable(OURS, roomy, 0) == SOON


def test_nothing_is_claimed_for_a_site_in_backoff_or_a_full_queue() -> None:
    subject, roomy = ready_queue(), ActiveQueue(1000, 10**6)
    subject.throttle.site.until = 10.0
    assert [subject.claimable(OURS, roomy, now) for now in (9.0, 11.0)] == [0, 2]
    tight = ActiveQueue(1000, 10**6)
    assert tight.reserve_all([10] * 870, OURS)
    assert subject.claimable(OURS, tight, 11.0) == 1  # one connection of two, while room is scarce
    subject.flows[OURS].pace = 100.0
    full_of(subject, 5)
    assert subject.claimable(OURS, tight, 11.0) == 0


def test_a_cut_keeps_whose_turn_is_next() -> None:
    subject, sent = ready_queue().flows[OURS], [job(1), job(1), job(1), job(2)]
    for each in sent:
        subject.add(each)
    assert subject.cut(2) == [sent[1], sent[2]]
    subject.measure(1.0)
    assert (subject.waiting, subject.octets, subject.pace) == (2, 20, 0)
    assert [subject.take(), subject.take()] == [sent[0], sent[3]]
    assert subject.cut(5) == []
