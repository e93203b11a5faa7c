from __future__ import annotations

from datetime import UTC, datetime

from config.schema import Shaping
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.queue.lanes import DESTINATIONS, Lane, Window
from mta.queue.throttle import Throttle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def delivery(account: int = 1, mailing: str | None = None) -> Delivery:
    to = QueuedRecipient(0, Address("ann", "example.net"))
    return Delivery(new_message_id(), "example.net", None, (to,), account, NOW, NOW, size=10, mailing=mailing)


def lane() -> Lane:
    return Lane("site", Shaping(), Throttle(ceiling=4, initial=2, rest=60, rest_after=3))


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


def test_take_all_empties() -> None:
    subject, sent = lane(), [delivery(), delivery(2), delivery()]
    for each in sent:
        subject.add(each)
    assert subject.octets == 30
    assert set(subject.take_all()) == set(sent)
    assert (subject.waiting, subject.octets, subject.take(), subject.idle) == (0, 0, None, True)


def test_of_very_many_destinations_only_some_are_remembered() -> None:
    subject = lane()
    for n in range(3 * DESTINATIONS):
        subject.remember(f"d{n}.example")
    assert 0 < len(subject.destinations) <= DESTINATIONS
    assert f"d{3 * DESTINATIONS - 1}.example" in subject.destinations


def crowd(window: Window, subject: Lane) -> int:
    """How many may wait in a lane that nobody serves."""
    while window.enter(each := delivery()) and window.has_room(subject):
        subject.add(each)
    window.leave(each)
    return subject.waiting


def test_no_lane_takes_more_than_it_leaves_free() -> None:
    window, lanes = Window(1000, 10**6), [lane() for _ in range(3)]
    assert [crowd(window, each) for each in lanes] == [500, 250, 125]
    assert not window.is_tight
    crowd(window, lane())
    assert window.is_tight


def test_a_cut_keeps_whose_turn_is_next() -> None:
    subject, sent = lane(), [delivery(1), delivery(1), delivery(1), delivery(2)]
    for each in sent:
        subject.add(each)
    assert subject.cut(2) == [sent[1], sent[2]]
    assert (subject.waiting, subject.octets, subject.taken) == (2, 20, 0)
    assert [subject.take(), subject.take(), subject.take()] == [sent[0], sent[3], None]
    assert subject.cut(5) == []


def test_large_messages_that_stand_still_leave_room_too() -> None:
    window, subject = Window(1000, 1000), lane()
    assert crowd(window, subject) == 50
    assert window.free_octets == 500


def test_an_empty_lane_always_takes_one() -> None:
    window, subject = Window(1, 10), lane()
    assert crowd(window, subject) == 1
    assert window.free == 0
    assert window.has_room(lane())


def test_a_place_in_the_window_is_given_back_once() -> None:
    window, one, other = Window(10, 100), delivery(), delivery()
    assert window.enter(one)
    assert window.enter(other)
    for _ in range(3):
        window.leave(one)
    assert (window.deliveries, window.octets) == (1, 10)
    never = delivery()
    window.leave(never)
    assert window.deliveries == 1


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
