"""Sources: which of them this machine can use, and who is to blame for a failed connection."""

from __future__ import annotations

import errno

import pytest

from config.schema import EgressSettings
from mta.delivery.backoff import MAX_BACKOFF
from mta.delivery.egress.local_address import is_to_blame
from mta.delivery.egress.sources import SOURCE_BACKOFF, SYSTEM_SOURCE, EgressSource, Proxy, SourceHealth, configured

A, B, SIX = EgressSource("a", "192.0.2.1"), EgressSource("b", "192.0.2.2"), EgressSource("six", "2001:db8::1")


def test_a_source_reaches_its_own_family() -> None:
    assert (A.reaches("198.51.100.1"), A.reaches("2001:db8::9")) == (True, False)
    assert (SIX.reaches("198.51.100.1"), SIX.reaches("2001:db8::9")) == (False, True)
    assert SYSTEM_SOURCE.reaches("198.51.100.1")
    assert SYSTEM_SOURCE.reaches("2001:db8::9")


def test_sources_as_they_are_configured() -> None:
    assert configured(EgressSettings()) == [SYSTEM_SOURCE]
    settings = EgressSettings.model_validate(
        {
            "sources": [
                {"name": "mta-1", "address": "192.0.2.1", "ehlo": "mta1.example.com", "certified": True},
                {"name": "mta-2", "address": "2001:db8::2", "proxy": "socks5://[2001:db8::f]:1080"},
            ]
        }
    )
    assert configured(settings) == [
        EgressSource("mta-1", "192.0.2.1", "mta1.example.com", certified=True),
        EgressSource("mta-2", "2001:db8::2", proxy=Proxy("socks5", "2001:db8::f", 1080)),
    ]


def test_one_that_fails_is_left_out_for_longer_each_time() -> None:
    subject, now, waits = SourceHealth(), 0.0, []
    for _ in range(9):
        waits.append(subject.failed(A, now))
        assert (subject.usable(A, now), subject.usable(B, now)) == (False, True)
        now += waits[-1]
        assert subject.usable(A, now)
    assert waits[:3] == [SOURCE_BACKOFF, 2 * SOURCE_BACKOFF, 4 * SOURCE_BACKOFF]
    assert waits[-1] == MAX_BACKOFF
    subject.worked(A)
    assert subject.failed(A, now) == SOURCE_BACKOFF


def test_the_first_to_be_tried_again_is_waited_for() -> None:
    subject = SourceHealth()
    subject.failed(A, 0)
    subject.failed(B, 10)
    assert subject.usable_in([A, B], 20) == SOURCE_BACKOFF - 20
    subject.end_backoffs()
    assert subject.usable_in([A, B], 20) == 0
    assert subject.usable(A, 20)


def test_what_is_listed_is_known_by_its_address() -> None:
    subject = SourceHealth()
    subject.listed = frozenset({"192.0.2.1"})
    assert [subject.steps_aside(each) for each in (A, B, SYSTEM_SOURCE)] == [True, False, False]
    subject.unfit = frozenset({"b"})
    assert [subject.steps_aside(each) for each in (A, B, SYSTEM_SOURCE)] == [True, True, False]


def test_one_that_the_machine_lacks_is_not_used_until_it_is_there() -> None:
    subject = SourceHealth()
    subject.absent = frozenset({"a"})
    assert (subject.usable(A, 0), subject.usable(B, 0)) == (False, True)
    assert subject.usable_in([A], 5) == SOURCE_BACKOFF
    subject.absent = frozenset()
    assert subject.usable(A, 0)


@pytest.mark.parametrize(
    ("source", "address", "error", "expected"),
    [
        ("192.0.2.1", "127.0.0.1", OSError(errno.EADDRNOTAVAIL, ""), True),
        ("127.0.0.1", "127.0.0.2", OSError(errno.EADDRNOTAVAIL, ""), False),
        ("192.0.2.1", "127.0.0.1", ConnectionRefusedError(errno.ECONNREFUSED, ""), False),
        ("192.0.2.1", "127.0.0.1", TimeoutError(), False),
        ("::1", "2001:db8::1", OSError(errno.ENETUNREACH, ""), False),
    ],
    ids=["not our address", "it works from there", "the receiver refused", "no answer", "no way from anywhere"],
)
def test_who_is_to_blame(source: str, address: str, error: BaseException, expected: bool) -> None:
    assert is_to_blame(source, address, error) is expected
