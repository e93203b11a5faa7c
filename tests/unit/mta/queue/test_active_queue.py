"""Room in memory: bounded, shared by the streams, released once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mta.mail.message import Stream
from mta.queue.active_queue import ActiveQueue
from mta.queue.ready_queue import ReadyQueue
from tests.unit.mta.queue.test_ready_queue import OTHER, OURS, job, ready_queue


def reserves(active_queue: ActiveQueue, stream: Stream = OURS, octets: int = 10) -> bool:
    return active_queue.reserve(octets, stream) is not None


def crowd(active_queue: ActiveQueue, subject: ReadyQueue, stream: Stream = OURS) -> int:
    """How many may wait in a ready queue that no runner serves."""
    while (reservation := active_queue.reserve(10, stream)) and subject.accepts(stream, active_queue):
        subject.add(job(stream=stream))
    if reservation:
        reservation.release()
    return subject.waiting


def test_no_ready_queue_takes_more_than_it_leaves_free() -> None:
    active_queue, queues = ActiveQueue(1000, 10**6), [ready_queue() for _ in range(3)]
    assert [crowd(active_queue, each) for each in queues] == [437, 219, 109]
    assert active_queue.is_tight(OURS)
    assert not active_queue.is_tight(OTHER)


def test_a_backlog_of_one_stream_leaves_room_for_the_other() -> None:
    active_queue = ActiveQueue(1000, 10**6)
    while reserves(active_queue, OTHER):
        pass
    assert active_queue.free(OURS) == 125
    assert crowd(active_queue, ready_queue()) > 0
    assert reserves(active_queue)


def test_what_is_kept_for_a_stream_is_its_own_even_when_the_other_has_taken_too_much() -> None:
    active_queue = ActiveQueue(1000, 1000)
    assert reserves(active_queue, OTHER, 5000)  # alone, whatever its size
    assert not reserves(active_queue, OTHER)
    assert active_queue.free_octets(OURS) == 125
    assert reserves(active_queue)


@given(st.lists(st.tuples(st.sampled_from(Stream), st.integers(1, 400))), st.integers(1, 50), st.integers(1, 2000))
def test_whatever_comes_an_active_queue_never_holds_more_than_it_may(
    comes: list[tuple[Stream, int]], deliveries: int, octets: int
) -> None:
    active_queue, inside, largest = ActiveQueue(deliveries, octets), [], dict.fromkeys(Stream, 0)
    for stream, size in comes:
        if reservation := active_queue.reserve(size, stream):
            inside.append(reservation)
            largest[stream] = max(largest[stream], size)
        assert active_queue.deliveries <= deliveries
        assert active_queue.octets <= octets + sum(largest.values())
    for each in inside:
        each.release()
    assert (active_queue.deliveries, active_queue.octets) == (0, 0)


def test_large_messages_that_stand_still_leave_room_too() -> None:
    active_queue, subject = ActiveQueue(1000, 1000), ready_queue()
    assert crowd(active_queue, subject) == 44
    assert active_queue.free_octets(OURS) == 435


def test_an_empty_ready_queue_always_takes_one() -> None:
    active_queue, subject = ActiveQueue(1, 10), ready_queue()
    assert crowd(active_queue, subject) == 1
    assert active_queue.free(OURS) == 0
    assert ready_queue().accepts(OURS, active_queue)


def test_a_reservation_is_released_once() -> None:
    active_queue = ActiveQueue(10, 100)
    one, other = active_queue.reserve(10, OURS), active_queue.reserve(10, OURS)
    assert one
    assert other
    for _ in range(3):
        one.release()
    assert (active_queue.deliveries, active_queue.octets) == (1, 10)
    job().release()  # it has no reservation
    assert active_queue.deliveries == 1


def test_a_message_of_no_octets_is_released_too() -> None:
    active_queue = ActiveQueue(10, 100)
    reservation = active_queue.reserve(0, OURS)
    assert reservation
    assert active_queue.deliveries == 1
    reservation.release()
    assert active_queue.deliveries == 0


def test_several_deliveries_are_reserved_together_or_not_at_all() -> None:
    active_queue = ActiveQueue(10, 100)
    assert active_queue.reserve_all([10] * 20, OURS) is None
    assert (active_queue.deliveries, active_queue.octets) == (0, 0)
    reservations = active_queue.reserve_all([10, 20, 30], OURS)
    assert reservations
    assert (active_queue.deliveries, active_queue.octets) == (3, 60)
    assert active_queue.reserve_all([20, 20], OURS) is None
    for each in reservations:
        each.release()
    assert (active_queue.deliveries, active_queue.octets) == (0, 0)


def test_deliveries_and_octets_are_bounded() -> None:
    active_queue = ActiveQueue(max_deliveries=2, max_octets=100)
    alone = active_queue.reserve(500, OURS)  # whatever its size
    assert alone
    assert not reserves(active_queue, OURS, 1)
    alone.release()
    first = active_queue.reserve(60, OURS)
    assert first
    assert not reserves(active_queue, OURS, 60)
    second = active_queue.reserve(28, OURS)  # 12 are kept for the other stream
    assert second
    assert not reserves(active_queue, OURS, 0)
    first.release()
    second.release()
    assert (active_queue.deliveries, active_queue.octets) == (0, 0)
