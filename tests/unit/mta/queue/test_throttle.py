from __future__ import annotations

from typing import Any

from mta.delivery.backoff import MAX_BACKOFF
from mta.queue.throttle import Throttle


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


def test_new_limits_keep_what_was_learned() -> None:
    subject = throttle(initial=10)
    subject.failed(0)
    subject.reshape(throttle(ceiling=3))
    assert (subject.allowed(0), subject.site.failures) == (3, 1)
    subject.succeeded()
    assert subject.allowed(0) == 3
