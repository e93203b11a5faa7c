"""Which links a page that was looked at speaks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from policy.accounts.checked_pages import CheckedPage, CheckedPages, shape_of

NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("https://shop.example", "https://shop.example/"),
        ("HTTPS://Shop.Example/Afmelden/8f2aQ?list=1&t=abc", "https://shop.example/Afmelden/*?list&t"),
        ("https://shop.example/afmelden/8f2aQ?t=xyz&list=2", "https://shop.example/afmelden/*?list&t"),
        ("https://shop.example:8443/u/AbCdEfGh", "https://shop.example:8443/u/*"),
        ("https://shop.example/opt-out.php?8f2a9", "https://shop.example/opt-out.php?*"),
        ("https://t.example/r?to=https%3A%2F%2Fshop.example%2Fu%2F9", "https://t.example/r?to=https://shop.example/u/*"),
    ],
)  # fmt: skip
def test_what_differs_between_recipients_is_left_out(url: str, shape: str) -> None:
    assert shape_of(url) == shape


@pytest.mark.parametrize(
    "other",
    [
        "https://evil.example/u/2?t=2", "https://shop.example/login/2?t=2", "https://shop.example/u/2?t=2&next=1",
        "http://shop.example/u/2?t=2", "https://shop.example:444/u/2?t=2", "https://shop.example/u/2/more?t=2",
        "https://shop.example/u/2?t=//evil.example", "https://[/u/2?t=2",
    ],
)  # fmt: skip
def test_another_place_has_another_shape(other: str) -> None:
    assert shape_of(other) != shape_of("https://shop.example/u/1?t=1")


def test_a_fault_counts_more_than_a_good_page_of_the_same_shape() -> None:
    url = "https://shop.example/u/1"
    good = CheckedPage("unsubscribe", url, shape_of(url), NOW, status=200, seen="it unsubscribes")
    bad = CheckedPage("unsubscribe", url, shape_of(url), NOW, status=404, fault="answers 404, not 200")
    pages = CheckedPages((bad, good))
    assert pages.find("unsubscribe", "https://shop.example/u/2") is bad
    assert pages.find("imprint", "https://shop.example/u/2") is None
    assert (str(good), str(bad)) == ("it unsubscribes", "answers 404, not 200")
    assert pages.faults == (bad,)
    assert CheckedPages((replace(bad, observed=True), good)).faults == ()
