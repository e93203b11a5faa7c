"""Words of a header as readers see them."""

from __future__ import annotations

from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.text.header_text import LONGEST, decoded, plain, shown, unquoted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Ann Lee", "Ann Lee"),
        ("=?utf-8?q?Gro=C3=9Fe_Freude?=", "Große Freude"),
        ("=?UTF-8?B?R3Jvw59l?= =?utf-8?Q?_Freude?=", "Große Freude"),
        ("=?utf-8?q?a?= b", "a b"),
        ("=?iso-8859-1?q?caf=E9?=", "café"),
        ("=?iso-8859-1*fr?q?caf=E9?=", "café"),
        ("=?utf-8?b?R3Jvw59l", "=?utf-8?b?R3Jvw59l"),
        ("=?no-such?q?a?=", "=?no-such?q?a?="),
        ("=?rot13?q?a?=", "=?rot13?q?a?="),
        ("=?utf-8?b?A?=", "=?utf-8?b?A?="),
        ("=?utf-8?q?=FF?=", "\ufffd"),
    ],
)
def test_encoded_words(value: str, text: str) -> None:
    assert decoded(value) == text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=200))
def test_what_the_standard_library_encodes_is_read_back(text: str) -> None:
    encoded = Header(text, "utf-8", maxlinelen=1000).encode()
    assert decoded(encoded) == text or not text.strip()


@given(st.text(max_size=300))
def test_nothing_raises(text: str) -> None:
    for question in (decoded, unquoted, plain, shown):
        assert isinstance(question(text), str)


@pytest.mark.parametrize("piece", ["=?", "=?utf-8?q?a?= ", '"', '"\\', "=?a?b?c", "?= =?", " "])
def test_only_so_much_is_looked_at(piece: str) -> None:
    assert len(decoded(piece * LONGEST)) <= LONGEST
    assert len(unquoted(decoded(piece * LONGEST))) <= LONGEST


@pytest.mark.parametrize(
    ("phrase", "text"),
    [('"Ann Lee"', "Ann Lee"), ('Ann "the \\"Shop\\""', 'Ann the "Shop"'), ("  a \t b ", "a b"), ('"', '"')],
)
def test_quotes(phrase: str, text: str) -> None:
    assert unquoted(phrase) == text


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ("ANN", "ann"),
        ("Ａnn", "ann"),
        ("𝐀nn", "ann"),
        ("a\u200bn\u00adn", "ann"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
    ],
)
def test_for_comparing(text: str, compared: str) -> None:
    assert plain(text) == compared


def test_quoting_is_short_and_harmless() -> None:
    assert shown("a\r\nb\x1b[2J\u202e") == "a��b�[2J�"
    assert shown("x" * 99) == "x" * 59 + "…"
