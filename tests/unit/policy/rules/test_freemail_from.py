"""Nobody sends as gmail.com from here."""

from __future__ import annotations

import pytest

from mta.mail.address import parse_domain
from policy.rules.sender.freemail_from import FreemailFrom
from policy.wordlists import shipped
from tests.unit.policy.make import CONTEXT, ask, message

RULE = FreemailFrom(FreemailFrom.Settings(), CONTEXT)


def test_a_domain_of_ones_own() -> None:
    assert ask(RULE) == "pass: shop.example: no freemail"


@pytest.mark.parametrize(
    "domain", ["gmail.com", "GMX.de", "web.de", "ziggo.nl", "orange.fr", "eu.yahoo.co.uk", "aol.com"]
)
@pytest.mark.parametrize("field", ["From", "Sender"])
def test_freemail(domain: str, field: str) -> None:
    answer = ask(RULE, message(f"{field}: Ann <ann@{domain}>\r\n"))
    assert answer.startswith("refuse: 550 5.7.1 freemail_from: receivers take mail from ")
    assert answer.endswith("only from its own servers; send from a domain of your own")


@pytest.mark.parametrize("domain", ["notgmail.com", "gmail.com.example", "mail.example", "gmail.example"])
def test_what_only_looks_like_it(domain: str) -> None:
    assert ask(RULE, message(f"From: ann@{domain}\r\n")).startswith("pass")


def test_domains_can_be_added_and_taken_away() -> None:
    rule = FreemailFrom(FreemailFrom.Settings(also=["Free.example"], allowed=["gmail.com"]), CONTEXT)
    assert ask(rule, message("From: a@free.example\r\n")).startswith("refuse")
    assert ask(rule, message("From: a@gmail.com\r\n")).startswith("pass")


def test_the_list_holds_each_domain_once_as_it_is_compared() -> None:
    domains = [domain for group in shipped("freemail").values() for domain in group]
    assert len(domains) == len(set(domains)) > 300
    assert all(parse_domain(domain) == domain for domain in domains)
