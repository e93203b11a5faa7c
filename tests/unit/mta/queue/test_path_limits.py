"""A worker's shares: what it asks for, what it gives back; and workers together, never above a limit."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.queue.path_limits import LEAST_BLOCK, SOON, SPARE, ConnectionShare, Permits, RateShare, Share
from mta.store.queue.limit_shares import LimitAnswer, LimitKey, LimitRequest, SharedLimit, exchange


class Limits:
    """PostgreSQL's side: limits that workers share."""

    def __init__(self) -> None:
        self.limits: dict[LimitKey, SharedLimit] = {}
        self.live: set[int] = set()
        self.called: set[tuple[LimitKey, int]] = set()

    def exchange(self, permits: Permits, lease: int, now: float) -> Sequence[LimitRequest]:
        """Let a worker exchange what it wants; return its requests."""
        self.live.add(lease)
        requests = permits.requests(now)
        for share, request in requests:
            limit = self.limits.setdefault(request.key, SharedLimit())
            answer, called = exchange(limit, request, lease, self.live, now)
            assert limit.used <= request.total
            self.called |= {(request.key, each) for each in called}
            share.answered(answer, now)
        return [request for _, request in requests]


def permits(connections: int | None, *rates: str, users: int = 0, starts: int = 0) -> Permits:
    found = Permits("x")
    found.limit(connections, rates)
    found.needed = lambda _: (users, starts)
    return found


def test_connections_are_asked_for_with_some_to_spare_and_only_once() -> None:
    limits, subject = Limits(), permits(20, users=4)
    assert limits.exchange(subject, 1, 100.0) == [LimitRequest(LimitKey("x"), 20, 6)]
    assert subject.connections
    assert (subject.connections.usable, subject.slots.most) == (6, 6)
    assert limits.exchange(subject, 1, 100.0) == []
    assert not subject.is_short(100.0)


def test_what_was_not_needed_for_a_while_goes_back() -> None:
    limits, subject = Limits(), permits(20, users=4)
    limits.exchange(subject, 1, 100.0)
    connections = subject.connections
    assert connections
    for _ in range(3):
        connections.begin()
    connections.end()
    subject.needed = lambda _: (0, 0)
    assert subject.next_due(100.0) == 100.0 + SPARE
    assert limits.exchange(subject, 1, 102.9) == []
    assert limits.exchange(subject, 1, 103.0) == [LimitRequest(LimitKey("x"), 20, 2, free=3)]
    assert limits.exchange(subject, 1, 106.0) == [LimitRequest(LimitKey("x"), 20, 2, free=1)]
    for _ in range(2):
        connections.end()
    assert limits.exchange(subject, 1, 109.0) == []  # they were in use until now
    assert limits.exchange(subject, 1, 112.0) == [LimitRequest(LimitKey("x"), 20, 0, free=2)]
    assert subject.next_due(112.0) == inf
    assert limits.limits[LimitKey("x")].is_empty


def test_an_idle_connection_keeps_its_unit_until_it_is_closed() -> None:
    limits, subject = Limits(), permits(2, users=1)
    limits.exchange(subject, 1, 100.0)
    assert subject.connections
    subject.connections.begin()
    assert subject.slots.take()
    assert not subject.slots.take()
    subject.connections.end()
    subject.needed = lambda _: (0, 0)
    assert limits.exchange(subject, 1, 110.0) == []
    subject.slots.release()
    limits.exchange(subject, 1, 114.0)
    assert limits.exchange(subject, 1, 118.0) == [LimitRequest(LimitKey("x"), 2, 0, free=1)]


def test_what_others_wait_for_goes_back_as_soon_as_it_is_free() -> None:
    limits = Limits()
    first, second = permits(4, users=4), permits(4, users=4)
    limits.exchange(first, 1, 100.0)
    assert first.connections
    for _ in range(3):
        first.connections.begin()
    first.needed = lambda _: (1, 9)
    limits.exchange(second, 2, 100.1)
    assert limits.called == {(LimitKey("x"), 1)}
    first.connections.call()
    assert limits.exchange(first, 1, 100.2)[0].free == 0
    assert (first.connections.keep, first.connections.usable, first.connections.is_over) == (2, 2, True)
    limits.exchange(first, 1, 100.3)
    assert first.connections.held == 3, "one was free"
    first.connections.end()
    limits.exchange(first, 1, 100.4)
    assert (first.connections.held, first.connections.is_over) == (2, False)
    second.connections.call()  # type: ignore[union-attr]
    limits.exchange(second, 2, 100.5)
    assert second.connections
    assert second.connections.held == 2


def test_starts_are_asked_for_in_blocks_before_the_last_one_is_used() -> None:
    limits, subject = Limits(), permits(None, "160/m", starts=1000)
    assert limits.exchange(subject, 1, 100.0)[0].wanted == 10
    for n in range(10):
        assert subject.is_short(101.0) == (n >= 5)
        assert subject.startable(101.0) == 10 - n
        ((rate, _),) = subject.reserve()
        rate.started(101.0)
    assert subject.wait(101.0) == pytest.approx(60.0, abs=1.3)
    (request,) = limits.exchange(subject, 1, 101.5)
    assert (request.wanted, sum(count for _, count in request.cooling)) == (10, 10)
    assert subject.startable(101.5) == 10


def test_starts_of_a_short_window_stay_and_are_used_again() -> None:
    limits, subject = Limits(), permits(None, "10/s", starts=1000)
    asked = []
    for now in (100.0, 100.1, 101.2, 102.3, 103.4):
        asked.append([request.wanted for request in limits.exchange(subject, 1, now)])
        while subject.startable(now):
            ((rate, _),) = subject.reserve()
            rate.started(now)
        assert 0.0 < subject.wait(now) <= 1.0
    assert asked == [[8], [10], [], [], []]


def test_a_start_is_in_use_until_a_window_after_its_answer() -> None:
    subject = RateShare(LimitKey("x", 1), 1)
    subject.answered(LimitAnswer(1, 1), 0.0)
    subject.reserve()
    assert (subject.free, subject.wait(50.0)) == (0, inf)
    subject.started(50.0)
    assert subject.wait(50.5) == pytest.approx(0.5)
    assert subject.wait(51.0) == 0.0
    subject.reserve()
    subject.unreserve()
    assert subject.free == 1


def test_used_starts_of_an_idle_path_are_given_back() -> None:
    limits, subject = Limits(), permits(None, "100/h", starts=2)
    limits.exchange(subject, 1, 100.0)
    for rate, _ in [*subject.reserve(), *subject.reserve()]:
        rate.started(100.0)
    subject.needed = lambda _: (0, 0)
    (request,) = limits.exchange(subject, 1, 100.0 + SPARE)
    assert [(round(remaining), count) for remaining, count in request.cooling] == [(3597, 2)]
    assert subject.next_due(104.0) == inf
    assert limits.limits[LimitKey("x", 3600)].used == 2


@pytest.mark.parametrize(
    "share", [RateShare(LimitKey("x", 60), 20), ConnectionShare(LimitKey("x"), 20, Permits("x").slots)]
)
def test_what_could_not_be_given_back_is_still_held(share: Share) -> None:
    share.answered(LimitAnswer(8, 8), 0.0)
    request = share.request(0, SPARE)
    assert request
    assert (request.free, share.held) == (8, 0)
    share.failed(request, SPARE, unknown=False)
    assert (share.held, share.free) == (8, 8)


def test_what_may_have_been_given_back_is_not_used_before_a_window_is_over() -> None:
    share = RateShare(LimitKey("x", 60), 20)
    share.answered(LimitAnswer(8, 8), 0.0)
    request = share.request(0, SPARE)
    assert request
    share.failed(request, SPARE, unknown=True)
    assert share.held == 0
    share.answered(LimitAnswer(8, 8), 4.0)
    assert (share.held, share.free) == (8, 0)
    assert share.wait(4.0) == 60.0


def test_a_lost_lease_loses_all_and_later_news_of_it_counts_no_more() -> None:
    limits, subject = Limits(), permits(4, "9/m", users=4, starts=9)
    limits.exchange(subject, 1, 100.0)
    ((rate, epoch),) = subject.reserve()
    subject.lose()
    assert subject.connections
    assert (rate.held, rate.used, subject.slots.most, subject.connections.usable) == (0, 0, 0, 0)
    assert rate.epoch != epoch


def test_other_limits_change_the_total_and_what_no_longer_holds_goes_back() -> None:
    limits, subject = Limits(), permits(8, "10/s", "20/s", "100/m", users=8, starts=8)
    limits.exchange(subject, 1, 100.0)
    assert [(rate.key.seconds, rate.total) for rate in subject.rates] == [(1, 10), (60, 100)]
    subject.limit(2, ["50/m"])
    assert subject.connections
    requests = {request.key.seconds: request for request in limits.exchange(subject, 1, 100.1)}
    assert (requests[0].total, subject.connections.keep, requests[60].total, requests[1].wanted) == (2, 2, 50, 0)
    assert requests[1].free == LEAST_BLOCK
    assert [rate.key.seconds for rate in subject.rates] == [60]
    subject.limit(2, ["50/m", "10/s"])
    limits.exchange(subject, 1, 100.2)
    assert [rate.held > 0 for rate in subject.rates] == [True, True]


def test_everything_goes_back_at_the_end() -> None:
    limits, subject = Limits(), permits(8, "10/s", "100/m", users=8, starts=8)
    limits.exchange(subject, 1, 100.0)
    for rate, _ in subject.reserve():
        rate.started(100.0)
    subject.needed = lambda _: (0, 0)
    subject.yield_all()
    limits.exchange(subject, 1, 100.5)
    assert [(key.seconds, limit.used) for key, limit in limits.limits.items()] == [(0, 0), (1, 1), (60, 1)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_workers_together_keep_every_window_and_the_number_of_connections(data: st.DataObject) -> None:
    """As a receiver sees it: sessions at once, and starts at any moment between reservation and answer."""
    connections, second, minute = (data.draw(st.integers(1, most)) for most in (5, 10, 30))
    limits, now, numbers = Limits(), 1000.0, iter(range(1, 10**6))
    workers: dict[int, Permits] = {}
    under_way: list[tuple[int, Sequence[tuple[RateShare, int]], bool]] = []
    ledger: list[float] = []  # of the receiver: each start at some moment between reservation and answer

    def join() -> None:
        workers[next(numbers)] = permits(connections, f"{second}/s", f"{minute}/m", users=3, starts=50)

    join()
    for _ in range(data.draw(st.integers(10, 150))):
        now += data.draw(st.sampled_from([0.0, 0.01, 0.1, 1.0, SOON]))
        lease = data.draw(st.sampled_from(sorted(workers)))
        worker = workers[lease]
        own = worker.connections
        assert own
        match data.draw(st.sampled_from(["join", "kill", "start", "start", "start", "end", "end", "ask", "ask"])):
            case "join":
                join()
            case "kill" if len(workers) > 1:
                del workers[lease]
                limits.live.discard(lease)
                under_way = [each for each in under_way if each[0] != lease]
            case "start" if worker.startable(now) and own.running < own.usable:
                own.begin()
                late = data.draw(st.booleans())
                under_way.append((lease, worker.reserve(), late))
                ledger += [] if late else [now]
            case "end" if under_way:
                ending, units, late = under_way.pop(0)
                for rate, _ in units:
                    rate.started(now)
                ledger += [now] if late else []
                ended = workers[ending].connections
                assert ended
                ended.end()
            case "ask":
                for share in worker.shares:
                    if (share.key, lease) in limits.called:
                        limits.called.discard((share.key, lease))
                        share.call()
                limits.exchange(worker, lease, now)
        running = [each.connections.running for each in workers.values() if each.connections]
        assert sum(running) <= connections
    for most, seconds in ((second, 1.0), (minute, 60.0)):
        starts = sorted(ledger)
        assert all(late - early >= seconds - 1e-9 for early, late in zip(starts, starts[most:], strict=False))
