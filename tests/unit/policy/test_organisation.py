"""Which organisation a domain belongs to."""

from __future__ import annotations

import pytest

from policy.organisation import organisation


@pytest.mark.parametrize(
    ("domain", "owner"),
    [
        ("example.com", "example.com"),
        ("mail.news.example.com", "example.com"),
        ("shop.example.co.uk", "example.co.uk"),
        ("a.b.github.io", "b.github.io"),
        ("co.uk", None),
        ("com", None),
        ("node.js", None),
    ],
)
def test_the_registered_domain(domain: str, owner: str | None) -> None:
    assert organisation(domain) == owner
