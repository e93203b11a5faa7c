"""Letters that look like others, and those that nobody sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.mail.address import parse_domain
from policy.text.scripts import fake_label, mixed, styled, unseen


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("paypal", None),
        ("Москва", None),
        ("Москва London", None),
        ("日本Tokyoカナ", None),
        ("p\u0430ypal", ("p\u0430ypal", "Cyrillic and Latin")),
        ("ok ρayp\u0430l", ("ρayp\u0430l", "Cyrillic and Greek and Latin")),
        ("é\u0301", None),
    ],
)
def test_scripts_in_one_word(text: str, found: tuple[str, str] | None) -> None:
    assert mixed(text) == found


@given(st.text(st.characters(max_codepoint=0x7F), max_size=50))
def test_ascii_is_never_suspicious(text: str) -> None:
    assert mixed(text) is unseen(text) is styled(text) is None


@given(st.sampled_from(["paypal", "amazon", "google"]), st.data())
def test_any_look_alike_put_into_a_latin_word_is_found(word: str, data: st.DataObject) -> None:
    alike = {"a": "\u0430", "o": "\u043e", "e": "\u0435", "p": "\u0440", "y": "\u0443", "m": "\u043c", "g": "\u0261"}
    places = [place for place, letter in enumerate(word) if letter in "aoepym"]
    place = data.draw(st.sampled_from(places))
    assert mixed(word[:place] + alike[word[place]] + word[place + 1 :]) is not None


@pytest.mark.parametrize(
    ("domain", "fake"),
    [
        ("shop.example", False),
        ("аррӏе.com", True),
        ("аррӏе.рф", False),
        ("москва.com", False),
        ("αρτια.gr", False),
        ("αρτια.com", True),
        ("оса-24.com", True),
        ("p\u0430ypal.example", True),
        ("ѕһор.bücher.example", True),
        ("straße.example", False),
        ("例え.com", False),
    ],
)
def test_domains(domain: str, fake: bool) -> None:
    assert (fake_label(parse_domain(domain)) is not None) is fake


def test_a_label_that_is_no_letters_is_left_alone() -> None:
    assert fake_label("xn--999999999999.example") is None


def test_unseen_and_styled_letters_are_named() -> None:
    assert unseen("a\u200bb") == "ZERO WIDTH SPACE"
    assert unseen("👩\u200d🚀 آب\u200cها") is None  # joiners have their use in these
    assert styled("𝓢hop") == "𝓢"
