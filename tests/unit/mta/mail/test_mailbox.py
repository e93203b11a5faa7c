"""Who wrote this? Only forms that every mail program reads alike are an answer."""

from __future__ import annotations

import pytest

from mta.mail.address import AddressError
from mta.mail.mailbox import parse_mailbox


@pytest.mark.parametrize(
    "value",
    [
        "ann@example.com",
        " <ann@example.com>",
        "Ann Lee <ann@example.com>",
        '"Lee, Ann" <ann@example.com>',
        '"mallory@evil.example" <ann@example.com>',
        "A. Lee <ann@example.com> ",
        "=?utf-8?q?=C3=84nn?= <ann@example.com>",
        "Änn <ann@example.com>",
        "ann@example.com (Ann Lee)",
        '"<mallory@evil.example>" <ann@example.com>',
    ],
)
def test_reads_the_one_author(value: str) -> None:
    assert str(parse_mailbox(value)) == "ann@example.com"


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "Ann", "ann@example.com, bob@example.com", "ann@example.com <mallory@evil.example>",
        "<ann@example.com> <mallory@evil.example>", "<ann@example.com> mallory@evil.example", "team: ann@example.com;",
        "user@good.example(x)evil.example", "alice@example.org)bob@example.com", "<@a.example:ann@example.com>",
        "Ann <ann@example.com", "Ann ann@example.com>", "(ann@example.com) mallory@evil.example", "ann@example.com(x)",
        "a\x00b <ann@example.com>", '"Ann <ann@example.com>', "ann@[127.0.0.1]", "Ann <ann @example.com>", "x" * 3000,
        "ann@example.com;mallory@evil.example", "Ann <<ann@example.com>>", "undisclosed-recipients:;",
    ],
)  # fmt: skip
def test_refuses_what_could_be_read_in_two_ways(value: str) -> None:
    with pytest.raises(AddressError):
        parse_mailbox(value)
