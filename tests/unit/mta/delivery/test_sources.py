"""From which address: by turns, and around those that do not serve."""

from __future__ import annotations

import errno

import pytest

from config.schema import Shaping
from mta.delivery.backoff import MAX_BACKOFF
from mta.delivery.shortage import Shortage
from mta.delivery.sources import MAX_PATHS, SOURCE_BACKOFF, Sources, is_to_blame
from mta.observe.labels import Resource

A, B, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"
TO, TO_SIX = "198.51.100.1", "2001:db8:1::1"
SHAPING = Shaping(backoff="1m", backoff_after=3)


def test_the_family_of_the_receiver_by_turns() -> None:
    subject = Sources([A, B, SIX])
    assert subject.able(TO, "site", 0) == [A, B]
    assert subject.able(TO_SIX, "site", 0) == [SIX]
    assert {subject.next([A, B]) for _ in range(2)} == {A, B}
    assert Sources([A]).able(TO_SIX, "site", 0) == Sources().able(TO, "site", 0) == [None]


def test_a_listed_source_is_used_if_there_is_no_other() -> None:
    subject = Sources([A, B])
    subject.listed = frozenset({A})
    assert subject.able(TO, "site", 0) == [B]
    subject.failed(B, 0)
    assert subject.able(TO, "site", 0) == [A]


def test_what_this_machine_cannot_send_from_is_left_out_for_longer_each_time() -> None:
    subject, now, waits = Sources([A, B]), 0.0, []
    for _ in range(9):
        waits.append(subject.failed(A, now))
        assert subject.able(TO, "site", now) == [B]
        now += waits[-1]
        assert subject.able(TO, "site", now) == [A, B]
    assert waits[:3] == [SOURCE_BACKOFF, 2 * SOURCE_BACKOFF, 4 * SOURCE_BACKOFF]
    assert waits[-1] == MAX_BACKOFF
    subject.met(A, "site", SHAPING, now, well=True)
    assert subject.failed(A, now) == SOURCE_BACKOFF


def test_without_any_that_works_nothing_is_tried() -> None:
    subject = Sources([A, B])
    subject.failed(A, 0)
    subject.failed(B, 10)
    with pytest.raises(Shortage) as raised:
        subject.able(TO, "site", 20)
    assert (raised.value.resource, raised.value.seconds) == (Resource.SOURCES, SOURCE_BACKOFF - 20)
    subject.end_backoffs()
    assert subject.able(TO, "site", 20) == [A, B]


def test_a_source_that_a_site_turns_away_is_left_out_there_and_only_there() -> None:
    subject = Sources([A, B])
    for n in range(3):
        assert subject.able(TO, "strict", n) == [A, B]
        subject.met(A, "strict", SHAPING, n, well=False)
        subject.met(B, "strict", SHAPING, n, well=True)
    assert subject.able(TO, "strict", 2) == [B]
    assert subject.able(TO, "other", 2) == [A, B]
    assert subject.able(TO, "strict", 62) == [A, B]
    for _ in range(3):
        subject.met(A, "strict", SHAPING, 62, well=False)
        subject.met(B, "strict", SHAPING, 62, well=False)
    assert subject.able(TO, "strict", 62) == [A, B]  # then the site is the trouble


def test_paths_that_fail_are_bounded() -> None:
    subject = Sources([A])
    for n in range(MAX_PATHS + 10):
        subject.met(A, f"s{n}", SHAPING, 0, well=False)
    assert len(subject._paths) == MAX_PATHS


@pytest.mark.parametrize(
    ("source", "address", "number", "blamed"),
    [
        ("192.0.2.1", "127.0.0.1", errno.EADDRNOTAVAIL, True),  # no address of this machine
        ("192.0.2.1", "127.0.0.1", errno.EACCES, True),
        ("192.0.2.1", "127.0.0.1", errno.ECONNREFUSED, False),
        ("127.0.0.1", "127.0.0.1", errno.EACCES, False),  # there is a way from it
    ],
)
def test_a_source_is_to_blame_if_there_is_a_way_but_not_from_it(
    source: str, address: str, number: int, blamed: bool
) -> None:
    assert is_to_blame(source, address, OSError(number, "")) is blamed
