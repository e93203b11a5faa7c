"""Who is next: nobody starves, whatever comes in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mta.mail.delivery import Delivery
from mta.mail.message import Stream
from mta.queue.fair_queue import FairQueue, Weights
from tests.unit.mta.queue.test_ready_queue import delivery

MARKETING, TRANSACTIONAL = Stream.MARKETING, Stream.TRANSACTIONAL
WEIGHTS = {TRANSACTIONAL: 4, MARKETING: 1}

weights = st.fixed_dictionaries({stream: st.integers(1, 20) for stream in Stream})
kinds = st.tuples(st.sampled_from(Stream), st.integers(1, 3), st.sampled_from([None, "a", "b"]))


def filled(streams: dict[Stream, int], weighing: Weights = WEIGHTS) -> FairQueue:
    lines = FairQueue(weighing)
    for stream, number in streams.items():
        for _ in range(number):
            lines.add(delivery(stream=stream))
    return lines


def taken(lines: FairQueue, number: int) -> list[Delivery]:
    return [each for _ in range(number) if (each := lines.take())]


def test_starts_divide_as_the_weights_do() -> None:
    counts = Counter(each.stream for each in taken(filled({MARKETING: 1000, TRANSACTIONAL: 1000}), 500))
    assert counts == {TRANSACTIONAL: 400, MARKETING: 100}


def test_a_stream_alone_gets_everything() -> None:
    assert len(taken(filled({MARKETING: 100}), 200)) == 100


def test_who_was_away_has_saved_up_nothing() -> None:
    lines = filled({MARKETING: 5000, TRANSACTIONAL: 5000})
    taken(lines, 4000)
    for _ in range(1000):
        lines.add(taken(lines, 1)[0])
    lines[MARKETING].take_all()
    taken(lines, 500)
    for _ in range(100):
        lines.add(delivery(stream=MARKETING))
    counts = Counter(each.stream for each in taken(lines, 100))
    assert counts[MARKETING] in (20, 21)


@given(weights, st.lists(st.one_of(kinds, st.none()), max_size=300))
def test_neither_stream_waits_for_more_than_its_share_of_the_other(
    weighing: Weights, steps: Sequence[tuple[Stream, int, str | None] | None]
) -> None:
    """Between two starts of a stream that waits all the time come at most as many of the other as their weights say,
    and one more."""
    lines, between = FairQueue(weighing), Counter[Stream]()
    for step in steps:
        if step is not None:
            stream, account, mailing = step
            lines.add(delivery(account, mailing, stream))
            continue
        started = lines.take()
        if started is None:
            continue
        for stream in Stream:
            if stream is started.stream or not lines[stream].waiting:
                between[stream] = 0
            else:
                between[stream] += 1
                assert between[stream] <= weighing[started.stream] / weighing[stream] + 1


@given(weights, st.lists(kinds, max_size=200))
def test_everything_that_comes_is_taken_once(
    weighing: Weights, comes: Sequence[tuple[Stream, int, str | None]]
) -> None:
    lines, sent = FairQueue(weighing), [delivery(account, mailing, stream) for stream, account, mailing in comes]
    for each in sent:
        lines.add(each)
    assert lines.waiting == len(sent)
    assert set(taken(lines, len(sent) + 1)) == set(sent)
    assert lines.waiting == 0
    assert not any(lines[stream].octets for stream in Stream)


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("abcd")), min_size=1, max_size=200))
def test_inside_a_stream_accounts_and_mailings_take_turns(comes: list[tuple[int, str]]) -> None:
    """However much others have waiting, an account's next start is at most one round of the accounts away, and a
    mailing's one round of its account's mailings."""
    lines = FairQueue(WEIGHTS)
    for account, mailing in comes:
        lines.add(delivery(account, mailing))
    accounts = len({account for account, _ in comes})
    order = taken(lines, len(comes))
    for account in range(1, 5):
        places = [place for place, each in enumerate(order) if each.account_id == account]
        assert all(later - earlier <= accounts for earlier, later in pairwise(places))
        own = [each.mailing for each in order if each.account_id == account]
        for mailing in set(own):
            turns = [place for place, each in enumerate(own) if each == mailing]
            assert all(b - a <= len(set(own)) for a, b in pairwise(turns))


def test_a_huge_mailing_does_not_delay_others() -> None:
    lines = FairQueue(WEIGHTS)
    for _ in range(1000):
        lines.add(delivery(1, "huge"))
    reminder, other = delivery(1, "reminder"), delivery(2)
    lines.add(reminder)
    lines.add(other)
    first = taken(lines, 4)
    assert reminder in first
    assert other in first


def test_new_weights_count_from_the_next_start() -> None:
    lines = filled({MARKETING: 1000, TRANSACTIONAL: 1000})
    lines.weights = {TRANSACTIONAL: 1, MARKETING: 1}
    counts = Counter(each.stream for each in taken(lines, 100))
    assert counts == {TRANSACTIONAL: 50, MARKETING: 50}
