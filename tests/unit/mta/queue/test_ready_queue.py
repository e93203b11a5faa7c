from __future__ import annotations

from datetime import UTC, datetime

from config.schema import Shaping
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.queue.active_queue import Job
from mta.queue.ready_queue import DESTINATIONS, ReadyQueue
from mta.queue.throttle import Throttle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = {Stream.TRANSACTIONAL: 4, Stream.MARKETING: 1}
OURS, OTHER = Stream.TRANSACTIONAL, Stream.MARKETING


def job(account: int = 1, mailing: str | None = None, stream: Stream = Stream.TRANSACTIONAL, size: int = 10) -> Job:
    to = QueuedRecipient(0, Address("ann", "example.net"))
    delivery = Delivery(
        new_message_id(), "example.net", None, (to,), account, NOW, NOW, size=size, mailing=mailing, stream=stream
    )
    return Job(delivery, None)


def ready_queue() -> ReadyQueue:
    return ReadyQueue("site", Shaping(), Throttle(ceiling=4, initial=2, backoff=60, backoff_after=3), WEIGHTS)


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
    subject.running = 1
    assert subject.startable(0) == 1


def test_take_all_empties() -> None:
    subject, sent = ready_queue(), [job(), job(2), job(), job(stream=OTHER)]
    for each in sent:
        subject.add(each)
    assert subject.waiting == 4
    assert set(subject.take_all()) == set(sent)
    assert (subject.waiting, subject.take(), subject.idle) == (0, None, True)


def test_of_very_many_destinations_only_some_are_remembered() -> None:
    subject = ready_queue()
    for n in range(3 * DESTINATIONS):
        subject.remember(f"d{n}.example")
    assert 0 < len(subject.destinations) <= DESTINATIONS
    assert f"d{3 * DESTINATIONS - 1}.example" in subject.destinations


def test_a_cut_keeps_whose_turn_is_next() -> None:
    subject, sent = ready_queue().flows[OURS], [job(1), job(1), job(1), job(2)]
    for each in sent:
        subject.add(each)
    assert subject.cut(2) == [sent[1], sent[2]]
    assert (subject.waiting, subject.octets, subject.taken) == (2, 20, 0)
    assert [subject.take(), subject.take()] == [sent[0], sent[3]]
    assert subject.cut(5) == []
