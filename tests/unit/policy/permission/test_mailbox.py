"""Which spellings of an address reach one mailbox."""

from __future__ import annotations

import pytest

from mta.mail.address import Address
from policy.permission.mailbox import Copies, mailbox_of

KNOWN, ALL, NONE = Copies(), Copies(subaddresses="all"), Copies(subaddresses="none", dots=False)


def same(first: str, second: str, copies: Copies = KNOWN) -> bool:
    return mailbox_of(Address.parse(first), copies) == mailbox_of(Address.parse(second), copies)


@pytest.mark.parametrize("spelling", ["ANN@example.net", '"ann"@example.net', '"a\\nn"@Example.NET', "Ann@EXAMPLE.net"])
def test_case_and_quotes_never_matter(spelling: str) -> None:
    assert all(same("ann@example.net", spelling, copies) for copies in (KNOWN, ALL, NONE))


def test_a_domain_is_one_in_both_alphabets() -> None:
    assert same("jörg@bücher.example", "JÖRG@xn--bcher-kva.example")


@pytest.mark.parametrize(
    ("first", "second", "copies", "one"),
    [
        ("ann@gmail.com", "a.n.n+shop@googlemail.com", KNOWN, True),
        ("ann@gmail.com", "a.n.n@gmail.com", NONE, False),
        ("ann@gmail.com", "a.n.n@gmail.com", Copies(dots=False), False),
        ("ann@gmail.com", "ann+x@gmail.com", NONE, False),
        ("ann@example.net", "ann+x@example.net", KNOWN, False),
        ("ann@example.net", "ann+x@example.net", ALL, True),
        ("ann@example.net", "a.nn@example.net", ALL, False),
        ("ann@me.com", "ann@icloud.com", KNOWN, True),
        ("+x@gmail.com", "+y@gmail.com", KNOWN, False),
        ("ann@outlook.com", "ann@hotmail.com", KNOWN, False),
    ],
)
def test_what_the_provider_and_the_profile_say(first: str, second: str, copies: Copies, one: bool) -> None:
    assert same(first, second, copies) is one
