"""Who is next: nobody starves, whatever comes in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mta.mail.message import Stream
from mta.queue.active_queue import Job
from mta.queue.fair_queue import FairQueue, Weights
from tests.unit.mta.queue.test_ready_queue import equal, job

MARKETING, TRANSACTIONAL = Stream.MARKETING, Stream.TRANSACTIONAL
WEIGHTS = {TRANSACTIONAL: 4, MARKETING: 1}

weights = st.fixed_dictionaries({stream: st.integers(1, 20) for stream in Stream})
kinds = st.tuples(st.sampled_from(Stream), st.integers(1, 3), st.sampled_from([None, "a", "b"]))


def filled(streams: dict[Stream, int], weighing: Weights = WEIGHTS) -> FairQueue:
    queue = FairQueue(weighing, equal)
    for stream, number in streams.items():
        for _ in range(number):
            queue.add(job(stream=stream))
    return queue


def taken(queue: FairQueue, number: int) -> list[Job]:
    return [each for _ in range(number) if (each := queue.take())]


def test_starts_divide_as_the_weights_do() -> None:
    counts = Counter(each.delivery.stream for each in taken(filled({MARKETING: 1000, TRANSACTIONAL: 1000}), 500))
    assert counts == {TRANSACTIONAL: 400, MARKETING: 100}


def test_a_stream_alone_gets_everything() -> None:
    assert len(taken(filled({MARKETING: 100}), 200)) == 100


def test_who_was_away_has_saved_up_nothing() -> None:
    queue = filled({MARKETING: 5000, TRANSACTIONAL: 5000})
    taken(queue, 4000)
    for _ in range(1000):
        queue.add(taken(queue, 1)[0])
    queue[MARKETING].take_all()
    taken(queue, 500)
    for _ in range(100):
        queue.add(job(stream=MARKETING))
    counts = Counter(each.delivery.stream for each in taken(queue, 100))
    assert counts[MARKETING] in (20, 21)


@given(weights, st.lists(st.one_of(kinds, st.none()), max_size=300))
def test_neither_stream_waits_for_more_than_its_share_of_the_other(
    weighing: Weights, steps: Sequence[tuple[Stream, int, str | None] | None]
) -> None:
    """Between two starts of a stream that waits all the time come at most as many of the other as their weights say,
    and one more."""
    queue, between = FairQueue(weighing, equal), Counter[Stream]()
    for step in steps:
        if step is not None:
            stream, account, mailing = step
            queue.add(job(account, mailing, stream))
            continue
        started = queue.take()
        if started is None:
            continue
        for stream in Stream:
            if stream is started.delivery.stream or not queue[stream].waiting:
                between[stream] = 0
            else:
                between[stream] += 1
                assert between[stream] <= weighing[started.delivery.stream] / weighing[stream] + 1


@given(weights, st.lists(kinds, max_size=200))
def test_everything_that_comes_is_taken_once(
    weighing: Weights, comes: Sequence[tuple[Stream, int, str | None]]
) -> None:
    queue, sent = FairQueue(weighing, equal), [job(account, mailing, stream) for stream, account, mailing in comes]
    for each in sent:
        queue.add(each)
    assert queue.waiting == len(sent)
    assert set(taken(queue, len(sent) + 1)) == set(sent)
    assert queue.waiting == 0
    assert not any(queue[stream].octets for stream in Stream)


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abcd")), min_size=1, max_size=200))
def test_inside_a_stream_accounts_and_mailings_take_turns(comes: list[tuple[int, str]]) -> None:
    """However much others have waiting, an account's next start is at most one round of the accounts away, and a
    mailing's one round of its account's mailings."""
    queue = FairQueue(WEIGHTS, equal)
    for account, mailing in comes:
        queue.add(job(account, mailing))
    accounts = len({account for account, _ in comes})
    order = taken(queue, len(comes))
    for account in range(1, 5):
        places = [place for place, each in enumerate(order) if each.delivery.account_id == account]
        assert all(later - earlier <= accounts for earlier, later in pairwise(places))
        own = [each.delivery.mailing for each in order if each.delivery.account_id == account]
        for mailing in set(own):
            turns = [place for place, each in enumerate(own) if each == mailing]
            assert all(b - a <= len(set(own)) for a, b in pairwise(turns))


def test_a_huge_mailing_does_not_delay_others() -> None:
    queue = FairQueue(WEIGHTS, equal)
    for _ in range(1000):
        queue.add(job(1, "huge"))
    reminder, other = job(1, "reminder"), job(2)
    queue.add(reminder)
    queue.add(other)
    first = taken(queue, 4)
    assert reminder in first
    assert other in first


def test_new_weights_count_from_the_next_start() -> None:
    queue = filled({MARKETING: 1000, TRANSACTIONAL: 1000})
    queue.weights = {TRANSACTIONAL: 1, MARKETING: 1}
    counts = Counter(each.delivery.stream for each in taken(queue, 100))
    assert counts == {TRANSACTIONAL: 50, MARKETING: 50}


def test_accounts_share_by_their_weights() -> None:
    weights_of = {1: 10.0, 2: 30.0, 3: 10.0}
    queue = FairQueue(WEIGHTS, weights_of.__getitem__)
    for account in weights_of:
        for n in range(1000):
            queue.add(job(account, "ab"[n % 2]))
    counts = Counter(each.delivery.account_id for each in taken(queue, 500))
    assert all(abs(counts[account] - share) <= 1 for account, share in ((1, 100), (2, 300), (3, 100)))
    weights_of[2] = 10.0  # an operator's change counts at once
    counts = Counter(each.delivery.account_id for each in taken(queue, 300))
    assert all(98 <= count <= 102 for count in counts.values())


@given(
    st.dictionaries(st.integers(1, 5), st.integers(1, 1000), min_size=2),
    st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=300),
)
def test_no_account_waits_for_more_than_its_share_of_another(
    given_weights: dict[int, int], steps: list[tuple[int, bool]]
) -> None:
    """While an account waits, another one starts at most as often as their weights say, and twice more; also one that
    comes and goes."""
    queue = FairQueue(WEIGHTS, lambda account: given_weights.get(account, 10))
    waiting, since = Counter[int](), Counter[tuple[int, int]]()
    for account, takes in steps:
        queue.add(job(account))
        waiting[account] += 1
        started = queue.take() if takes else None
        if started is None:
            continue
        one = started.delivery.account_id
        waiting[one] -= 1
        for other in range(1, 6):
            if other != one and waiting[other]:
                since[other, one] += 1
                most = given_weights.get(one, 10) / given_weights.get(other, 10)
                assert since[other, one] <= most + 2
            since.update({(one, other): -since[one, other]})


def test_a_priority_counts_inside_its_account_only() -> None:
    queue = FairQueue(WEIGHTS, equal)
    for _ in range(1000):
        queue.add(job(1))
        queue.add(job(1, priority=9))
        queue.add(job(2))
    first = taken(queue, 180)
    assert Counter(each.delivery.account_id for each in first) == {1: 90, 2: 90}
    urgent = Counter(each.delivery.priority for each in first if each.delivery.account_id == 1)
    assert urgent == {9: 80, 0: 10}
