"""Patterns are cheap by construction, match whole words, and say why they are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.pattern import MAX_WAYS, Pattern, PatternError


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("user unknown", "recipient rejected: user unknown in table", "user unknown"),
        ("user unknown", "user unknowns", None),
        ("user unknown", "superuser unknown", None),
        ("full", "fully booked; mailbox full", "full"),
        ("(?:full|fully) booked", "fully booked", "fully booked"),
        ("^rejected$", "rejected", "rejected"),
        ("^rejected", "mail rejected", None),
        (r"over ?quota\.", "overquota.", "overquota."),
        (r"too many .{0,9}errors? \d{1,3}", "too many smtp error 12", "too many smtp error 12"),
        (r"\(s3140\)", "block list (s3140).", "(s3140)"),
        ("boite archiv.e", "boite archivée", "boite archivée"),
    ],
)
def test_search(pattern: str, text: str, found: str | None) -> None:
    assert Pattern.parse(pattern).search(text) == found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("mailbox.*full", "unbounded repeat"),
        ("mailbox.+full", "unbounded repeat"),
        ("mailbox.{3,}full", "unbounded repeat"),
        ("mailbox.{,3}full", "unbounded repeat"),
        ("mailbox(?:a{0,3}b){1,9}", "several ways"),
        ("mailbox(?:(?:a|ab){2}){2}", "several ways"),
        ("mailbox(?:a?){3}", "several ways"),
        ("mailbox a{1,2}?", "repeats a repeat"),
        ("mailbox.{0,40}.{0,40}full", "1681 ways"),
        ("mailbox" + "a?" * 20, "ways"),
        ("mailbox [^ ]{9,3}", "reversed bounds"),
        ("Mailbox full", "capital letters"),
        ("mailbox  full", "two spaces"),
        ("(mailbox", "a \\( without a \\)"),
        ("mailbox)", "unmatched \\)"),
        ("mailbox [full", "unexpected '\\['"),
        ("mailbox {full", "unexpected '{'"),
        ("mail^box", "unexpected '\\^'"),
        ("mailbox \\bfull", r"unexpected '\\\\b'"),
        ("mailbox (?=full)", "unexpected '\\?'"),
        ("mailbox(?p<x>a)", "unexpected '\\?'"),
        (r"mailbox (a)\1", "unexpected"),
        ("mailbox [z-a]", "not a regular expression"),
        ("mailbox [a--b]", "doubled character"),
        ("(" * 12 + "mailbox" + ")" * 12, "ten groups"),
        ("[a-z]{3}", "no word"),
        ("(?:mailbox)?", "no word"),
        ("", "no word"),
        ("mailbox " + "x" * 500, "more than 500"),
    ],
)
def test_refused(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        Pattern.parse(pattern)


def test_words_must_be_whole() -> None:
    """A word that a neighbour may make longer cannot be looked up: `[a-z]{0,3}list` may be `blocklist`."""
    assert Pattern.parse("no [a-z]{0,9}user here").words == ((("no",),), (("here",),))
    assert Pattern.parse("black(?:list|listed)").words == ((("blacklist",), ("blacklisted",)),)


PIECES = st.sampled_from(
    ["user", "no ", " full", "(?:a|ab|b c)", "(?:is |was )?", "x?", ".{0,5}", "[^ ]{1,9}", r"\d{1,3}", *"().|^$*"]
)


@given(st.lists(PIECES, max_size=8).map("".join), st.text("abcusernoflixw .1", max_size=40))
def test_words_are_in_every_match(pattern: str, text: str) -> None:
    """What the index is built on: a text that matches has all words of one spelling of each stretch."""
    try:
        parsed = Pattern.parse(pattern)
    except PatternError:
        return
    if parsed.search(text) is not None:
        words = set(re.findall("[a-z0-9]+", text))
        assert all(any(words.issuperset(spelling) for spelling in stretch) for stretch in parsed.words)


@given(st.text(max_size=30))
def test_any_pattern(text: str) -> None:
    try:
        Pattern.parse(text).search("user unknown")
    except PatternError as error:
        assert str(error)  # noqa: PT017


def test_bound_of_the_costliest() -> None:
    assert Pattern.parse(f"user .{{0,{MAX_WAYS - 1}}}unknown").search("user x unknown")
    with pytest.raises(PatternError, match="1001 ways"):
        Pattern.parse(f"user .{{0,{MAX_WAYS}}}unknown")
