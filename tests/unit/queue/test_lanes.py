from __future__ import annotations

from datetime import UTC, datetime

from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.queue.lanes import Lane, Window
from mta.queue.throttle import Throttle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def delivery(account: int = 1, mailing: str | None = None) -> Delivery:
    to = QueuedRecipient(0, Address("ann", "example.net"))
    return Delivery(new_message_id(), "example.net", None, (to,), account, NOW, NOW, size=10, mailing=mailing)


def lane() -> Lane:
    return Lane("site", Throttle(ceiling=4, initial=2, rest=60, rest_after=3))


def test_in_order_for_one_mailing() -> None:
    subject, sent = lane(), [delivery() for _ in range(3)]
    for each in sent:
        subject.add(each)
    assert [subject.take() for _ in range(4)] == [*sent, None]


def test_a_huge_mailing_does_not_delay_others() -> None:
    subject = lane()
    for _ in range(1000):
        subject.add(delivery(1, "huge"))
    reminder, other = delivery(1, "reminder"), delivery(2)
    subject.add(reminder)
    subject.add(other)
    first = [subject.take() for _ in range(3)]
    assert reminder in first
    assert other in first


def test_startable_is_bounded_by_window_and_by_what_waits() -> None:
    subject = lane()
    assert subject.startable(0) == 0
    for _ in range(9):
        subject.add(delivery())
    assert subject.startable(0) == 2
    subject.running = 1
    assert subject.startable(0) == 1


def test_take_all_empties_but_for_what_stays() -> None:
    subject, kept = lane(), delivery(2)
    for each in (delivery(), kept, delivery()):
        subject.add(each)
    assert len(subject.take_all(keep=lambda each: each is kept)) == 2
    assert subject.waiting == 1
    assert subject.take() is kept
    assert subject.idle


def test_window_bounds_deliveries_and_octets() -> None:
    window = Window(max_deliveries=2, max_octets=100)
    assert window.reserve(500)  # alone, whatever its size
    assert not window.reserve(1)
    window.release(500)
    assert window.reserve(60)
    assert not window.reserve(60)
    assert window.reserve(40)
    assert not window.reserve(0)
    window.release(60)
    window.release(40)
    assert (window.deliveries, window.octets) == (0, 0)
