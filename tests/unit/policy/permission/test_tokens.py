"""Tokens: read by whoever has the key that made them, and by nobody else, in no other spelling."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.permission.tokens import Claim, SampleTokens, Tokens

OLD, NEW = bytes(32), bytes(range(32))
CLAIM = Claim("u", 7, bytes(range(16)), "01j0000000000000000000000a", "offers")


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64),
    st.binary(min_size=16, max_size=16),
)
def test_what_was_said_is_read(topic: str, key: bytes) -> None:
    claim = Claim("c", 2**40, key, "", topic)
    assert Tokens(NEW).read(Tokens(NEW).make(claim)) == claim


def test_two_tokens_for_one_claim_do_not_look_alike() -> None:
    tokens = Tokens(NEW)
    assert tokens.make(CLAIM) != tokens.make(CLAIM)
    assert tokens.make(CLAIM).replace("-", "").replace("_", "").isalnum()


def test_the_newest_key_makes_and_every_kept_one_reads() -> None:
    before, during, after = Tokens(OLD), Tokens(NEW, OLD), Tokens(NEW)
    old, new = before.make(CLAIM), during.make(CLAIM)
    assert during.read(old) == during.read(new) == CLAIM
    assert after.read(new) == CLAIM
    assert after.read(old) is None  # its key was given up
    assert before.read(new) is None


def test_keys_have_numbers_and_so_many_before_the_newest_are_kept() -> None:
    def derive(purpose: str) -> bytes:
        return hashlib.sha256(purpose.encode()).digest()

    first, third = Tokens.derived(derive, 1, 2).make(CLAIM), Tokens.derived(derive, 3, 0).make(CLAIM)
    assert Tokens.derived(derive, 3, 2).read(first) == CLAIM
    assert Tokens.derived(derive, 4, 2).read(first) is None
    assert Tokens.derived(derive, 4, 2).read(third) == CLAIM


def test_every_flipped_bit_is_found() -> None:
    tokens = Tokens(NEW)
    token = tokens.make(CLAIM)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(token):
        for bit in range(6):
            other = alphabet[alphabet.index(letter) ^ 1 << bit]
            assert tokens.read(token[:place] + other + token[place + 1 :]) is None


def test_every_cut_and_every_addition_is_found() -> None:
    tokens = Tokens(NEW)
    token = tokens.make(CLAIM)
    for length in range(len(token)):
        assert tokens.read(token[:length]) is None
    for more in ("A", "=", "==", "\n", " ", "AAAA", token):
        assert tokens.read(token + more) is None


@given(st.text(max_size=200))
def test_nothing_that_others_write_is_read_or_raises(text: str) -> None:
    assert Tokens(NEW).read(text) is None


@pytest.mark.parametrize("text", ["", "A" * 5000, "AQ", "AQ" * 40, "é" * 80, "AQ-_" * 30])
def test_odd_texts_are_not_tokens(text: str) -> None:
    assert Tokens(NEW).read(text) is None


def test_tokens_need_a_key() -> None:
    with pytest.raises(ValueError, match="need a key"):
        Tokens()


def test_a_sample_has_the_length_of_a_token_and_is_none() -> None:
    for topic in ("", "o", "of", "offers"):
        claim = Claim("u", 7, bytes(16), "01j0000000000000000000000a", topic)
        sample = SampleTokens().make(claim)
        assert len(sample) == len(Tokens(NEW).make(claim))
        assert Tokens(NEW).read(sample) is None
