from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mta.delivery.backoff import MAX_BACKOFF
from mta.queue.throttle import PARTS, SlidingWindow, Throttle


def throttle(**values: Any) -> Throttle:
    return Throttle(**{"ceiling": 10, "initial": 2, "backoff": 60.0, "backoff_after": 3} | values)


def test_starts_small_and_grows_with_success() -> None:
    subject = throttle()
    assert subject.allowed(0) == 2
    for _ in range(20):
        subject.succeeded()
    assert subject.allowed(0) == 10


def test_halves_when_connecting_fails() -> None:
    subject = throttle(initial=8)
    assert subject.failed(0) is False
    assert subject.allowed(0) == 4


def test_backoff_after_failures_in_a_row_and_then_one_connection() -> None:
    subject = throttle()
    assert [subject.failed(100) for _ in range(3)] == [False, False, True]
    assert subject.allowed(159) == 0
    assert subject.allowed(160) == 1


def test_success_between_failures_prevents_a_backoff() -> None:
    subject = throttle()
    for _ in range(10):
        assert subject.failed(0) is False
        assert subject.failed(0) is False
        subject.succeeded()


def test_each_backoff_is_twice_as_long_up_to_a_limit() -> None:
    subject = throttle(backoff_after=1)
    now, waits = 0.0, []
    for _ in range(10):
        assert subject.failed(now)
        waits.append(subject.site.until - now)
        now = subject.site.until
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == MAX_BACKOFF


def test_a_site_that_has_not_recovered_is_in_backoff_at_the_first_failure() -> None:
    subject = throttle()
    assert [subject.failed(0) for _ in range(3)] == [False, False, True]
    assert subject.failed(60)
    assert subject.site.until == 60 + 120
    subject.succeeded()
    assert [subject.failed(200) for _ in range(3)] == [False, False, True]
    assert subject.site.until == 260


def test_an_operator_may_end_a_backoff() -> None:
    subject = throttle()
    assert [subject.failed(0) for _ in range(3)] == [False, False, True]
    subject.resume()
    assert subject.allowed(1) == 1
    assert not subject.failed(1)


def test_failures_of_others_under_way_do_not_prolong_a_backoff() -> None:
    subject = throttle(backoff_after=1)
    subject.failed(0)
    assert subject.failed(1) is False
    assert subject.site.until == 60


def rates(*texts: str, workers: int = 1) -> tuple[SlidingWindow, ...]:
    return tuple(SlidingWindow.share(text, workers) for text in texts)


def test_all_rates_hold_together() -> None:
    subject, now, starts = throttle(rates=rates("10/s", "15/m")), 0.0, []
    while len(starts) < 40:
        if wait := subject.wait(now):
            now += wait
        else:
            starts.append(now)
    assert starts[9] == 0.0
    assert starts[10:15] == [1.0] * 5
    for most, seconds in ((10, 1.0), (15, 60.0)):
        assert all(late - early >= seconds for early, late in zip(starts, starts[most:], strict=False))
    assert starts[39] < 2.1 * 60


@given(
    most=st.integers(1, 200),
    gaps=st.lists(st.floats(0, 0.3), min_size=1, max_size=400),
)
def test_no_window_holds_more_than_its_most(most: int, gaps: list[float]) -> None:
    subject, now, starts = SlidingWindow(most, 1.0), 0.0, []
    for gap in gaps:
        now += gap
        if not subject.wait(now):
            subject.start(now)
            starts.append(now)
    assert starts
    assert all(late - early >= 1.0 for early, late in zip(starts, starts[most:], strict=False))


def test_a_share_of_less_than_one_start_is_one_in_a_longer_time() -> None:
    assert [(each.most, each.seconds) for each in rates("100/h", "3/d", workers=8)] == [(12, 3600.0), (1, 230400.0)]


def test_a_window_counts_in_parts_however_much_it_allows() -> None:
    subject = SlidingWindow(1_000_000, 86400.0)
    for n in range(100_000):
        subject.start(n / 2)
    assert len(subject._parts) <= PARTS + 1


def test_new_limits_keep_what_was_learned() -> None:
    subject = throttle(initial=10)
    subject.failed(0)
    subject.reshape(throttle(ceiling=3, rates=rates("5/s")))
    assert (subject.allowed(0), subject.rates[0].most, subject.site.failures) == (3, 5, 1)
    subject.wait(0)
    subject.reshape(throttle(ceiling=3, rates=rates("5/s")))
    assert [subject.wait(0) for _ in range(5)] == [0, 0, 0, 0, 1.0]
    subject.succeeded()
    assert subject.allowed(0) == 3
