"""Who may open a connection when there are few: sites that do not answer never get the last ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.schema import Shaping
from mta.delivery.egress.paths import EgressPath
from mta.delivery.egress.sources import SYSTEM_SOURCE
from mta.queue.connection_budget import ConnectionBudget
from mta.queue.ready_queue import OVERDUE, ReadyQueue, Standing
from mta.queue.throttle import Throttle
from tests.unit.mta.queue.test_ready_queue import WEIGHTS, equal, job, permits

LONG_AGO = -2 * OVERDUE


def site(name: str = "site") -> ReadyQueue:
    queue = ReadyQueue(
        EgressPath(SYSTEM_SOURCE, name, Shaping()),
        Throttle(ceiling=1000, initial=1000, backoff=60, backoff_after=3),
        permits(),
        WEIGHTS,
        equal,
    )
    queue.add(job())
    return queue


def connect(budget: ConnectionBudget, queue: ReadyQueue, began: float = 0.0) -> bool:
    if budget.take(queue, 0.0):
        queue.connections.begin()
        queue.began(job(), began)
        return True
    return False


def fill(budget: ConnectionBudget, queue: ReadyQueue, began: float = 0.0) -> int:
    """Open as many connections as the site may have."""
    while connect(budget, queue, began):
        pass
    return queue.running


def test_a_site_alone_leaves_half() -> None:
    budget = ConnectionBudget(100)
    assert fill(budget, site()) == 50


def test_silent_sites_leave_room_for_those_that_answer() -> None:
    budget = ConnectionBudget(100)
    for n in range(200):
        fill(budget, site(f"tarpit{n}"), LONG_AGO)
    assert budget.used <= 88
    good = site("good")
    good.answers = True
    assert fill(budget, good) >= 6


def test_a_new_site_gets_a_connection_beside_silent_ones() -> None:
    budget = ConnectionBudget(100)
    for n in range(20):
        fill(budget, site(f"tarpit{n}"), LONG_AGO)
    assert budget.used < 88
    assert connect(budget, site("new"))


def test_an_admitted_connection_is_kept() -> None:
    budget = ConnectionBudget(100)
    for n in range(20):
        fill(budget, site(f"tarpit{n}"), LONG_AGO)
    while connect(budget, new := site("new")):
        assert budget.keeps(new, 0.0)
    assert budget.used == 88


def test_a_site_that_failed_gets_none_of_the_scarce_half() -> None:
    budget = ConnectionBudget(100)
    fill(budget, site())
    failed = site("failed")
    failed.answers = False
    assert not connect(budget, failed)


def test_who_was_not_admitted_is_called_up_when_a_connection_ends() -> None:
    budget = ConnectionBudget(2)
    first, second, waiting = site("first"), site("second"), site("waiting")
    for queue in (first, second):
        queue.answers = waiting.answers = True
        assert connect(budget, queue)
    assert not connect(budget, waiting)
    assert list(budget.admissible(0.0)) == []
    first.connections.end()
    budget.release()
    assert list(budget.admissible(0.0)) == [waiting]
    assert list(budget.admissible(0.0)) == []


def test_a_silent_site_that_waits_does_not_stand_before_one_that_answers() -> None:
    budget = ConnectionBudget(8)
    tarpit, good = site("tarpit"), site("good")
    good.answers = True
    others = [site(str(n)) for n in range(8)]
    for each in others:
        each.answers = True
        assert connect(budget, each)
    tarpit.answers = False
    assert not connect(budget, tarpit)
    assert not connect(budget, good)
    budget.release()
    assert list(budget.admissible(0.0)) == [good]


def test_a_connection_too_many_serves_no_further_message() -> None:
    budget = ConnectionBudget(100)
    greedy = site("greedy")
    assert fill(budget, greedy) == 50
    assert budget.keeps(greedy, 0.0)
    budget.used = 99  # many others came
    assert not budget.keeps(greedy, 0.0)


def test_a_site_is_silent_when_most_of_its_attempts_are_overdue() -> None:
    queue = site()
    queue.answers = True
    slow, quick, another = job(), job(), job()
    queue.began(slow, LONG_AGO)
    assert queue.standing(0.0) is Standing.SILENT
    queue.began(quick, 0.0)
    queue.began(another, 0.0)
    assert queue.standing(0.0) is Standing.ANSWERS
    queue.ended(slow)
    assert queue.standing(OVERDUE + 1) is Standing.SILENT


@given(st.integers(8, 3000), st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=300))
def test_the_budget_is_kept_and_an_eighth_is_left_by_those_that_do_not_answer(
    most: int, sites: list[tuple[bool, int]]
) -> None:
    budget = ConnectionBudget(most)
    silent = 0
    for n, (answers, wanted) in enumerate(sites):
        queue = site(str(n))
        queue.answers = True if answers else None
        got = sum(connect(budget, queue, 0.0 if answers else LONG_AGO) for _ in range(wanted))
        silent += 0 if answers else got
    assert budget.used <= most
    assert silent <= most * 7 / 8 + 1
