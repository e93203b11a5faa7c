"""Pools: which of them a delivery's mail leaves from, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from config.schema import EgressSettings
from mta.delivery.egress.pools import PoolQuery, SourcePools
from mta.mail.message import Stream

SOURCES = [
    {"name": "a", "address": "192.0.2.1"},
    {"name": "b", "address": "192.0.2.2"},
    {"name": "gold", "address": "192.0.2.3", "certified": True},
]
POOLS = [
    {"name": "news", "members": [{"source": "a", "weight": 5}, {"source": "b"}]},
    {"name": "orders", "members": [{"source": "b"}]},
    {"name": "csa", "members": [{"source": "gold"}]},
]


def pools(*rules: dict[str, Any], sources: Any = SOURCES, given: Any = POOLS) -> SourcePools:
    return SourcePools(EgressSettings.model_validate({"sources": sources, "pools": given, "rules": list(rules)}))


def query(**fields: Any) -> PoolQuery:
    known: dict[str, Any] = {"account": "shop", "profile": "csa", "stream": Stream.MARKETING, "mailing": "spring-1"}
    return PoolQuery(**{**known, "domain": "mail.example.net", **fields})


def test_turns_follow_the_weights_evenly() -> None:
    news = pools().get("news")
    assert news
    turns = [news.turn(news.sources).name for _ in range(12)]
    assert Counter(turns) == {"a": 10, "b": 2}
    assert "b" in turns[:6]
    assert "b" in turns[6:]


def test_those_that_cannot_are_passed_over() -> None:
    news = pools().get("news")
    assert news
    _, other = news.sources
    assert {news.turn([other]).name for _ in range(3)} == {"b"}


def test_the_default_pool_has_every_source_that_is_not_certified() -> None:
    assert [source.name for source in pools().default.sources] == ["a", "b"]
    own = [*POOLS, {"name": "default", "members": [{"source": "b"}]}]
    assert [source.name for source in pools(given=own).default.sources] == ["b"]
    assert [source.name for source in pools(sources=[], given=[]).default.sources] == ["system"]


@pytest.mark.parametrize(
    ("rule", "fits", "does_not"),
    [
        ({}, {}, None),
        ({"accounts": ["shop", "club"]}, {"account": "club"}, {"account": "other"}),
        ({"profiles": ["csa"]}, {}, {"profile": "marketing"}),
        ({"streams": ["transactional"]}, {"stream": Stream.TRANSACTIONAL}, {}),
        ({"mailings": ["spring-1"]}, {}, {"mailing": "spring-10"}),
        ({"mailings": ["spring-*"]}, {"mailing": "spring-10"}, {"mailing": "winter-1"}),
        ({"mailings": ["*"]}, {}, {"mailing": None}),
        ({"domains": ["mail.example.net"]}, {}, {"domain": "example.net"}),
        ({"domains": [".example.net"]}, {}, {"domain": "example.net"}),
        ({"accounts": ["shop"], "domains": [".net"]}, {}, {"account": "other"}),
        ({"accounts": ["shop"]}, {}, {"account": None}),
    ],
)
def test_a_rule_fits_if_all_its_conditions_do(
    rule: dict[str, Any], fits: dict[str, Any], does_not: dict[str, Any] | None
) -> None:
    subject = pools({"pool": "orders", **rule})
    assert subject.of(query(**fits)).name == "orders"
    if does_not is not None:
        assert subject.of(query(**does_not)).name == "default"


def test_the_first_rule_counts_then_the_accounts_own_pool() -> None:
    subject = pools({"pool": "orders", "domains": ["a.example"]}, {"pool": "news", "domains": ["a.example"]})
    assert subject.of(query(domain="a.example", own="news")).name == "orders"
    assert subject.of(query(own="news")).name == "news"
    assert subject.of(query(own="gone")).name == "default"


@pytest.mark.parametrize("own", [None, "csa"])
def test_certified_sources_carry_certified_mail_only(own: str | None) -> None:
    subject = pools({"pool": "csa", "profiles": ["csa"]}, {"pool": "news"})
    assert subject.of(query(own=own, certified=True)).name == "csa"
    assert subject.of(query(own=own, certified=False)).name == "news"
    assert pools().of(query(own="csa", certified=False)).name == "default"
