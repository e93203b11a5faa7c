from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from config.schema import Shaping
from mta.mail.address import Address
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.identity import new_message_id
from mta.mail.message import Stream
from mta.queue.ready_queue import DESTINATIONS, ActiveQueue, ReadyQueue
from mta.queue.throttle import Throttle

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEIGHTS = {Stream.TRANSACTIONAL: 4, Stream.MARKETING: 1}
OURS, OTHER = Stream.TRANSACTIONAL, Stream.MARKETING


def delivery(
    account: int = 1, mailing: str | None = None, stream: Stream = Stream.TRANSACTIONAL, size: int = 10
) -> Delivery:
    to = QueuedRecipient(0, Address("ann", "example.net"))
    return Delivery(
        new_message_id(), "example.net", None, (to,), account, NOW, NOW, size=size, mailing=mailing, stream=stream
    )


def lane() -> ReadyQueue:
    return ReadyQueue("site", Shaping(), Throttle(ceiling=4, initial=2, rest=60, rest_after=3), WEIGHTS)


def test_in_order_for_one_mailing() -> None:
    subject, sent = lane(), [delivery() for _ in range(3)]
    for each in sent:
        subject.add(each)
    assert [subject.take() for _ in range(4)] == [*sent, None]


def test_startable_is_bounded_by_window_and_by_what_waits() -> None:
    subject = lane()
    assert subject.startable(0) == 0
    for _ in range(9):
        subject.add(delivery())
    assert subject.startable(0) == 2
    subject.running = 1
    assert subject.startable(0) == 1


def test_take_all_empties() -> None:
    subject, sent = lane(), [delivery(), delivery(2), delivery(), delivery(stream=OTHER)]
    for each in sent:
        subject.add(each)
    assert subject.waiting == 4
    assert set(subject.take_all()) == set(sent)
    assert (subject.waiting, subject.take(), subject.idle) == (0, None, True)


def test_of_very_many_destinations_only_some_are_remembered() -> None:
    subject = lane()
    for n in range(3 * DESTINATIONS):
        subject.remember(f"d{n}.example")
    assert 0 < len(subject.destinations) <= DESTINATIONS
    assert f"d{3 * DESTINATIONS - 1}.example" in subject.destinations


def crowd(window: ActiveQueue, subject: ReadyQueue, stream: Stream = OURS) -> int:
    """How many may wait in a lane that nobody serves."""
    while window.enter(each := delivery(stream=stream)) and window.has_room(subject.lines[stream], stream):
        subject.add(each)
    window.leave(each)
    return subject.waiting


def test_no_lane_takes_more_than_it_leaves_free() -> None:
    window, lanes = ActiveQueue(1000, 10**6), [lane() for _ in range(3)]
    assert [crowd(window, each) for each in lanes] == [437, 219, 109]
    assert window.is_tight(OURS)
    assert not window.is_tight(OTHER)


def test_a_backlog_of_one_stream_leaves_room_for_the_other() -> None:
    window = ActiveQueue(1000, 10**6)
    while window.enter(delivery(stream=OTHER)):
        pass
    assert window.free(OURS) == 125
    assert crowd(window, lane()) > 0
    assert window.enter(delivery())


def test_what_is_kept_for_a_stream_is_its_own_even_when_the_other_has_taken_too_much() -> None:
    window = ActiveQueue(1000, 1000)
    assert window.reserve(5000, 1, OTHER)  # alone, whatever its size
    assert not window.enter(delivery(stream=OTHER))
    assert window.free_octets(OURS) == 125
    assert window.enter(delivery())


@given(st.lists(st.tuples(st.sampled_from(Stream), st.integers(1, 400))), st.integers(1, 50), st.integers(1, 2000))
def test_whatever_comes_a_window_never_holds_more_than_it_may(
    comes: list[tuple[Stream, int]], deliveries: int, octets: int
) -> None:
    window, inside = ActiveQueue(deliveries, octets), []
    for stream, size in comes:
        if window.enter(each := delivery(stream=stream, size=size)):
            inside.append(each)
        assert window.deliveries <= deliveries
        largest = {stream: max((each.size for each in inside if each.stream is stream), default=0) for stream in Stream}
        assert window.octets <= octets + sum(largest.values())
    for each in inside:
        window.leave(each)
    assert (window.deliveries, window.octets) == (0, 0)


def test_a_cut_keeps_whose_turn_is_next() -> None:
    subject, sent = lane().lines[OURS], [delivery(1), delivery(1), delivery(1), delivery(2)]
    for each in sent:
        subject.add(each)
    assert subject.cut(2) == [sent[1], sent[2]]
    assert (subject.waiting, subject.octets, subject.taken) == (2, 20, 0)
    assert [subject.take(), subject.take()] == [sent[0], sent[3]]
    assert subject.cut(5) == []


def test_large_messages_that_stand_still_leave_room_too() -> None:
    window, subject = ActiveQueue(1000, 1000), lane()
    assert crowd(window, subject) == 44
    assert window.free_octets(OURS) == 435


def test_an_empty_lane_always_takes_one() -> None:
    window, subject = ActiveQueue(1, 10), lane()
    assert crowd(window, subject) == 1
    assert window.free(OURS) == 0
    assert window.has_room(lane().lines[OURS], OURS)


def test_a_place_in_the_window_is_given_back_once() -> None:
    window, one, other = ActiveQueue(10, 100), delivery(), delivery()
    assert window.enter(one)
    assert window.enter(other)
    for _ in range(3):
        window.leave(one)
    assert (window.deliveries, window.octets) == (1, 10)
    never = delivery()
    window.leave(never)
    assert window.deliveries == 1


def test_window_bounds_deliveries_and_octets() -> None:
    window = ActiveQueue(max_deliveries=2, max_octets=100)
    assert window.reserve(500)  # alone, whatever its size
    assert not window.reserve(1)
    window.release(500)
    assert window.reserve(60)
    assert not window.reserve(60)
    assert window.reserve(28)  # 12 are kept for the other stream
    assert not window.reserve(0)
    window.release(60)
    window.release(28)
    assert (window.deliveries, window.octets) == (0, 0)
