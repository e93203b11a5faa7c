"""No link leads to a domain that looks like another."""

from __future__ import annotations

import pytest

from policy.rules.content.confusable_links import ConfusableLinks
from tests.unit.policy.make import CONTEXT, ask, message

RULE = ConfusableLinks(ConfusableLinks.Settings(), CONTEXT)
HTML = "From: ann@shop.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"


def page(url: str) -> str:
    return ask(RULE, message(HTML, f'<p><a href="{url}">here</a></p>'.encode()))


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/", "https://москва.рф/", "https://bücher.example/?x=p\u0430ypal.com",
     "mailto:a@shop.example", "https://xn--/", "https://[::1]/", "#top", "https://例え.jp/"],
)  # fmt: skip
def test_honest_links(url: str) -> None:
    assert page(url) == "pass: 1 links"


@pytest.mark.parametrize(
    "url",
    ["https://p\u0430ypal.com/login", "HTTPS://XN--PYPAL-4VE.COM", "https://user@p\u0430ypal.com:443/",
     "http:\\\\аррӏе.com", "https://p%D0%B0ypal.com/", "https://login.аррӏе.com?x"],
)  # fmt: skip
def test_links_that_deceive(url: str) -> None:
    answer = page(url)
    assert answer.startswith("refuse: 550 5.7.1 confusable_links: a link leads to ")
    assert answer.endswith("; link to a domain in letters of one script")


def test_links_in_plain_text_count() -> None:
    head = "From: ann@shop.example\r\nContent-Type: text/plain; charset=utf-8\r\n"
    assert ask(RULE, message(head, "see https://p\u0430ypal.com/ now\r\n".encode())).startswith("refuse")
