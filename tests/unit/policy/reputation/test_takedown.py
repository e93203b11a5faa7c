"""What a takedown covers, and what it may name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from policy.reputation.takedown import Takedown, TakedownList, parse_takedown
from policy.text.link_targets import target_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LIST = TakedownList(
    Takedown(parse_takedown(text), "copyright", "desk", NOW)
    for text in ("Pirate.example", "https://films.example/new/", "https://shop.example/item?id=3")
)


@pytest.mark.parametrize(
    ("address", "covered"),
    [
        ("https://pirate.example/", True),
        ("http://www.PIRATE.example:8080/any?thing", True),
        ("https://notpirate.example/", False),
        ("https://pirate.example.org/", False),
        ("https://films.example/new", True),
        ("https://films.example/new/one.mkv?x", True),
        ("https://films.example/newest", False),
        ("https://films.example/", False),
        ("https://www.films.example/new/", False),
        ("https://shop.example/item?id=3", True),
        ("https://shop.example/item?id=33", False),
        ("https://shop.example/item", False),
    ],
)
def test_what_is_covered(address: str, covered: bool) -> None:
    target = target_of(address)
    assert target is not None
    assert (LIST.find(target) is not None) is covered


def test_an_empty_list_is_none() -> None:
    assert not TakedownList()
    assert LIST


@pytest.mark.parametrize("text", ["com", "co.uk", "", "no host", "mailto:a@b.example", "https://", "localhost"])
def test_what_names_nothing_or_too_much(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither a host|public suffix"):
        parse_takedown(text)


def test_those_since_a_moment() -> None:
    old, new = (
        Takedown(parse_takedown(host), "x", "desk", at) for host, at in (("a.example", NOW), ("b.example", LATER))
    )
    both = TakedownList([old, new])
    pages = [target_of(f"https://{host}/page") for host in ("a.example", "b.example")]
    assert [
        [bool(page and known.find(page)) for page in pages] for known in (both, both.since(NOW), both.since(LATER))
    ] == [
        [True, True],
        [True, True],
        [False, True],
    ]
    assert not both.since(LATER + timedelta(seconds=1))
    assert not TakedownList().since(NOW)
