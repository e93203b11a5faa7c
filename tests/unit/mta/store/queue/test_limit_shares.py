"""One limit and its workers: parts, turns, dead workers, clocks; and never more than the total."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta.store.queue.limit_shares import (
    AGAIN,
    PARTS,
    TURN,
    LimitAnswer,
    LimitKey,
    LimitRequest,
    LimitTime,
    SharedLimit,
    decode,
    encode,
    exchange,
)

CONNECTIONS = LimitKey("path:s0:site")
MINUTE = LimitKey("path:s0:site", 60)


class Limit:
    """A limit and the workers that share it."""

    def __init__(self, total: int, key: LimitKey = CONNECTIONS) -> None:
        self.key, self.total, self.state, self.now = key, total, SharedLimit(), 1000.0
        self.live: set[int] = set()
        self.called: set[int] = set()

    def ask(self, lease: int, wanted: int, free: int = 0, cooling: tuple[tuple[float, int], ...] = ()) -> LimitAnswer:
        self.live.add(lease)
        request = LimitRequest(self.key, self.total, wanted, free, cooling)
        self.state = decode(encode(self.state).decode())
        answer, called = exchange(self.state, request, lease, self.live, self.now)
        self.called = set(called)
        assert self.state.used <= self.total
        return answer

    @property
    def held(self) -> dict[int, int]:
        return {lease: share.held for lease, share in self.state.shares.items()}


def test_one_worker_gets_what_it_wants_and_no_more_than_the_total() -> None:
    limit = Limit(4)
    assert limit.ask(1, 3).held == 3
    assert limit.ask(1, 9).held == 4
    assert limit.called == set()


def test_another_one_calls_what_is_above_an_equal_part() -> None:
    limit = Limit(4)
    limit.ask(1, 4)
    assert limit.ask(2, 4) == LimitAnswer(0, 2, AGAIN)
    assert limit.called == {1}
    assert limit.ask(1, 4).keep == 2
    assert limit.ask(1, 4, free=2) == LimitAnswer(2, 2, AGAIN)
    assert limit.called == {2}, "it was given them at once"
    assert limit.held == {1: 2, 2: 2}
    assert limit.ask(2, 4) == LimitAnswer(2, 2, AGAIN)


def test_a_small_wish_is_met_before_large_ones_share_the_rest() -> None:
    limit = Limit(9)
    limit.ask(1, 1)
    limit.ask(2, 99)
    limit.ask(3, 99)
    limit.ask(2, 99, free=4)
    assert limit.held == {1: 1, 2: 4, 3: 4}


def test_what_does_not_divide_stays_where_it_is() -> None:
    limit = Limit(5)
    limit.ask(1, 5)
    limit.ask(2, 5)
    assert limit.ask(1, 5).keep == 3
    assert limit.ask(1, 5, free=2).held == 3
    limit.now += 10 * TURN
    assert limit.ask(2, 5).held == 2
    assert limit.called == set()


@pytest.mark.parametrize("total", [1, 2, 4])
def test_fewer_units_than_workers_go_round(total: int) -> None:
    """Sixteen workers that always want one: each has had its turn before any has a second one."""
    limit, turns = Limit(total), Counter[int]()
    for lease in range(16):
        limit.ask(lease, 1)
    while turns.total() < 64:
        limit.now += AGAIN
        for lease in range(16):
            answer = limit.ask(lease, 1)
            if answer.held and not answer.keep:
                turns[lease] += 1
                limit.ask(lease, 1, free=1)
    assert max(turns.values()) - min(turns[lease] for lease in range(16)) <= 1
    assert limit.now - 1000 <= 64 / total * (TURN + AGAIN) + 2 * TURN


def test_a_unit_is_not_taken_before_its_turn_is_over() -> None:
    limit = Limit(1)
    limit.ask(1, 1)
    limit.now += TURN / 2
    assert limit.ask(2, 1) == LimitAnswer(0, 0, AGAIN)
    assert limit.ask(1, 1).keep == 1
    limit.now += TURN / 2
    limit.ask(2, 1)
    assert limit.called == {1}
    assert limit.ask(1, 1).keep == 0


def test_connections_of_a_worker_that_has_ended_are_free() -> None:
    limit = Limit(4)
    limit.ask(1, 4)
    limit.live.remove(1)
    assert limit.ask(2, 4).held == 4


def test_starts_of_a_worker_that_has_ended_count_for_a_window() -> None:
    limit = Limit(10, MINUTE)
    limit.ask(1, 4)
    limit.live.remove(1)
    assert limit.ask(2, 10).held == 6
    limit.now += 59.9
    assert limit.ask(2, 10).held == 6
    limit.now += 0.1 + 60 / PARTS
    assert limit.ask(2, 10).held == 10


def test_used_starts_are_free_again_after_a_window_and_the_wait_is_told() -> None:
    limit = Limit(10, MINUTE)
    limit.ask(1, 10)
    answer = limit.ask(1, 5, cooling=((60.0, 10),))
    assert (answer.held, answer.keep) == (0, 0)
    assert 60.0 <= answer.wait <= 60.0 * (1 + 1 / PARTS)
    limit.now += answer.wait
    assert limit.ask(1, 5).held == 5


def test_a_lower_total_gives_out_nothing_until_it_fits() -> None:
    limit = Limit(8)
    limit.ask(1, 8)
    limit.state.shares[1].held, limit.total = 8, 3
    request = LimitRequest(limit.key, 3, 8)
    assert exchange(limit.state, request, 1, {1}, limit.now)[0] == LimitAnswer(8, 3, AGAIN)
    assert exchange(limit.state, LimitRequest(limit.key, 3, 8), 2, {1, 2}, limit.now)[0].held == 0
    assert exchange(limit.state, LimitRequest(limit.key, 3, 8, free=6), 1, {1, 2}, limit.now)[0].held == 2
    assert {lease: share.held for lease, share in limit.state.shares.items()} == {1: 2, 2: 1}


def test_what_nobody_needs_leaves_no_trace() -> None:
    limit = Limit(8)
    limit.ask(1, 3)
    limit.ask(1, 0, free=3)
    assert limit.state.is_empty


def test_parts_bound_how_much_is_kept() -> None:
    limit = Limit(10**6, LimitKey("x", 86400))
    limit.ask(1, 10**6)
    for n in range(2000):
        limit.now += 20
        limit.ask(1, 10**6, cooling=((86400.0 - n % 7, 3),))
    assert len(limit.state.cooling) < 60


# --- never above the limit


class Worker:
    """Uses starts by its own clock, and writes each into the receiver's ledger."""

    def __init__(self, lease: int) -> None:
        self.lease, self.held = lease, 0
        self.cooling: list[float] = []  # monotonic time at which each is free again

    def use(self, now: float, window: float, number: int) -> int:
        self.cooling = [until for until in self.cooling if until > now]
        used = min(number, self.held - len(self.cooling))
        self.cooling += [now + window] * used
        return used


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_window_ever_holds_more_than_the_total(data: st.DataObject) -> None:
    """Workers join, end, use and bring back as they like, and the database's clock is set."""
    total, window = data.draw(st.integers(1, 12), "total"), 10
    key, state = LimitKey("x", window), SharedLimit()
    real, step, behind, leases = 5000.0, 0.0, 0.0, iter(range(1, 10**6))
    workers, clocks, ledger = [], dict[int, LimitTime](), list[float]()
    for _ in range(data.draw(st.integers(1, 60), "steps")):
        real += data.draw(st.floats(0, 6), "passes")
        match data.draw(st.sampled_from(["join", "kill", "use", "use", "exchange", "exchange", "exchange", "clock"])):
            case "join":
                workers.append(Worker(next(leases)))
            case "clock":
                # A worker of before and after sees a step: without one there is no other clock.
                for worker in workers:
                    behind = clocks.setdefault(worker.lease, LimitTime()).behind(real + step, behind, real, real)
                if workers:
                    step += data.draw(st.sampled_from([-7200.0, -3.0, 3.0, 7200.0]))
                    behind = clocks[workers[0].lease].behind(real + step, behind, real, real)
            case "kill" if workers:
                del workers[data.draw(st.integers(0, len(workers) - 1))]
            case "use" if workers:
                worker = data.draw(st.sampled_from(workers))
                ledger += [real] * worker.use(real, window, data.draw(st.integers(1, 12)))
            case "exchange" if workers:
                worker = data.draw(st.sampled_from(workers))
                worker.use(real, window, 0)
                free = data.draw(st.integers(0, worker.held - len(worker.cooling)))
                back = worker.cooling[: data.draw(st.integers(0, len(worker.cooling)))]
                worker.cooling = worker.cooling[len(back) :]
                request = LimitRequest(
                    key, total, data.draw(st.integers(0, 12)), free, tuple((until - real, 1) for until in back)
                )
                clock = clocks.setdefault(worker.lease, LimitTime())
                behind = clock.behind(real + step, behind, real, real)
                live = {each.lease for each in workers}
                answer, _ = exchange(state, request, worker.lease, live, real + step - behind)
                assert state.used <= total
                worker.held = answer.held
    for early, late in zip(ledger, ledger[total:], strict=False):
        assert late - early >= window


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_more_connections_than_the_total_are_held_at_once(data: st.DataObject) -> None:
    limit = Limit(data.draw(st.integers(1, 6)))
    held, leases = dict[int, int](), iter(range(1, 10**6))
    for _ in range(data.draw(st.integers(1, 60))):
        limit.now += data.draw(st.floats(0, 5))
        action = data.draw(st.sampled_from(["join", "kill", "ask", "ask", "ask"]))
        if action == "join" or not held:
            held[next(leases)] = 0
        elif action == "kill":
            lease = data.draw(st.sampled_from(sorted(held)))
            del held[lease]
            limit.live.discard(lease)
        else:
            lease = data.draw(st.sampled_from(sorted(held)))
            held[lease] = limit.ask(lease, data.draw(st.integers(0, 8)), data.draw(st.integers(0, held[lease]))).held
        assert sum(held.values()) <= limit.total


# --- time


def test_a_step_of_the_database_forward_does_not_pass_for_time() -> None:
    clock = LimitTime()
    assert clock.behind(1000.0, 0.0, 5.0, 5.0) == 0.0
    assert clock.behind(1010.0, 0.0, 15.0, 15.01) == 0.0
    behind = clock.behind(4620.0, 0.0, 25.0, 25.01)
    assert behind == pytest.approx(3600.0)
    assert clock.behind(4630.0, behind, 35.0, 35.01) == behind
    assert LimitTime().behind(4630.0, behind, 77.0, 77.0) == behind


def test_a_step_back_and_forth_is_followed() -> None:
    clock, moments = LimitTime(), []
    behind = 0.0
    for n, wall in enumerate((1000.0, 400.0, 401.0, 1003.0, 1004.0)):
        behind = clock.behind(wall, behind, float(n), float(n))
        moments.append(wall - behind)
    assert all(late - early <= 1.1 for early, late in pairwise(moments))
