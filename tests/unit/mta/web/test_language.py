"""Accept-Language: weights, ranges, refusals, and whatever else people send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta.web.language import choose

OURS = ("en", "nl", "de", "fr", "es")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE-at;q=0.5", "de"),
        ("zh-Hant-TW, fr-CA;q=0.2", "fr"),
        ("nl;q=0.3, es;q=0.8, de;q=0.5", "es"),
        ("nl, es", "nl"),
        ("pl, *;q=0.1", "en"),
        ("en;q=0, *;q=0.1", "nl"),
        ("de;q=0, de-AT", "en"),
        ("fr;q=0, nl;q=0.1", "nl"),
        ("fr ; q = 0.9 , nl;q=1", "nl"),
        ("fr;q=2, nl;q=0.1", "nl"),
        ("fr;q=x", "en"),
        ("pl", "en"),
        (",,;q=1,", "en"),
        ("pl," * 40 + "de", "en"),
    ],
)
def test_the_best_of_ours(header: str, language: str) -> None:
    assert choose(header, OURS) == language


@given(st.text(max_size=200))
def test_whatever_is_sent_one_of_ours_is_found(header: str) -> None:
    assert choose(header, OURS) in OURS
