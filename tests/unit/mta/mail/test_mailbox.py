"""Who wrote this? Only forms that every mail program reads alike are an answer."""

from __future__ import annotations

import pytest

from mta.mail.address import AddressError
from mta.mail.mailbox import parse_mailbox, read_mailbox


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
        "Ann (Sales) <ann@example.com>",
        "Ann < ann@example.com >",
        "Ann <ann @example.com>",
        "Ann <ann (x) @ (y (z)) example.com> (q)",
        "ann@example.com(x)",
        "(Ann) ann@example.com",
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
        "Ann <ann@example.com", "Ann ann@example.com>", "(ann@example.com) mallory@evil.example",
        "a\x00b <ann@example.com>", '"Ann <ann@example.com>', "ann@[127.0.0.1]", "Ann <an n@example.com>", "x" * 3000,
        "Ann (mallory@evil.example) <ann@example.com>", "ann@example.com (<mallory>)",
        "ann@example.com;mallory@evil.example", "Ann <<ann@example.com>>", "undisclosed-recipients:;",
    ],
)  # fmt: skip
def test_refuses_what_could_be_read_in_two_ways(value: str) -> None:
    with pytest.raises(AddressError):
        parse_mailbox(value)


@pytest.mark.parametrize(
    ("value", "name", "written"),
    [
        ("Ann (Sales) <ann@EXAMPLE.com>", "Ann (Sales)", "Ann (Sales) <ann@EXAMPLE.com>"),
        ("Ann < ann@example.com >", "Ann", "Ann <ann@example.com>"),
        ("Ann <ann@example\u3002com>", "Ann", "Ann <ann@example.com>"),
        ("ann@example.com(Ann)", "Ann", "ann@example.com (Ann)"),
        ("(Ann) ann (x) @example.com", "Ann", "(Ann) ann@example.com"),
        ("<ann@XN--BCHER-KVA.example>", "", "<ann@xn--bcher-kva.example>"),
    ],
)
def test_an_address_is_written_as_it_is_compared(value: str, name: str, written: str) -> None:
    mailbox = read_mailbox(value)
    assert (mailbox.name, mailbox.value) == (name, written)


@pytest.mark.parametrize("value", ["team: ann@example.com;", "undisclosed-recipients:;"])
def test_a_group_is_named(value: str) -> None:
    with pytest.raises(AddressError, match="RFC 6854"):
        read_mailbox(value)
