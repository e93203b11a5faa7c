"""Blocklists: asked as RFC 5782 says, believed if they prove themselves, counted when seen twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.schema import Blocklist
from policy.reputation.blocklist import (
    Believed,
    Clear,
    Ignored,
    KnownListing,
    ListedAnswer,
    ListingChange,
    Said,
    Unanswered,
    fits,
    move,
    proofs,
    question,
    read,
    trust,
)

IP = Blocklist(name="zen", zone="zen.example.org")
DOMAIN = Blocklist(name="dbl", zone="dbl.example.org", kind="domain")
PICKY = Blocklist.model_validate(
    {
        "name": "zen",
        "zone": "zen.example.org",
        "answers": [
            {"codes": "127.0.0.2", "means": "sends spam"},
            {"codes": "127.0.0.10/31", "means": "dynamic", "listed": False},
        ],
    }
)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
APART = timedelta(minutes=15)
LISTED = ListedAnswer(("127.0.0.2",))


@pytest.mark.parametrize(
    ("subject", "blocklist", "name"),
    [
        ("192.0.2.99", IP, "99.2.0.192.zen.example.org"),
        ("2001:db8::1", IP, "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.zen.example.org"),
        ("news.shop.example", DOMAIN, "news.shop.example.dbl.example.org"),
    ],
)
def test_what_is_asked_for(subject: str, blocklist: Blocklist, name: str) -> None:
    assert question(subject, blocklist) == name
    assert fits(subject, blocklist)
    assert not fits(subject, DOMAIN if blocklist is IP else IP)


@pytest.mark.parametrize(
    ("answers", "blocklist", "said"),
    [
        ([], IP, Clear()),
        (["127.0.0.4", "127.0.0.2"], IP, ListedAnswer(("127.0.0.2", "127.0.0.4"))),
        (["127.0.0.2"], PICKY, ListedAnswer(("127.0.0.2",), "sends spam")),
        (["127.0.0.10"], PICKY, Clear()),
        (["127.0.0.3"], PICKY, Clear()),
    ],
)
def test_what_answers_mean(answers: list[str], blocklist: Blocklist, said: Said) -> None:
    assert read(answers, blocklist) == said


@pytest.mark.parametrize("answer", ["127.255.255.254", "203.0.113.7"])
@pytest.mark.parametrize("blocklist", [IP, PICKY])
def test_a_refused_question_and_a_parked_zone_say_nothing(answer: str, blocklist: Blocklist) -> None:
    assert isinstance(read([answer], blocklist), Unanswered)


@pytest.mark.parametrize(
    ("must", "must_not", "expected"),
    [
        (LISTED, Clear(), Believed),
        (LISTED, LISTED, Ignored),
        (Clear(), Clear(), Ignored),
        (Unanswered("SERVFAIL"), LISTED, Ignored),
        (Unanswered("SERVFAIL"), Clear(), Unanswered),
        (LISTED, Unanswered("no answer"), Unanswered),
    ],
)
def test_a_list_proves_itself(must: Said, must_not: Said, expected: type) -> None:
    assert proofs(IP) == ("127.0.0.2", "127.0.0.1")
    assert proofs(DOMAIN) == ("test", "invalid")
    assert isinstance(trust(must, must_not, IP), expected)


@pytest.mark.parametrize(
    ("known", "said", "expected"),
    [
        (None, Clear(), ListingChange.NOTHING),
        (None, LISTED, ListingChange.SEEN),
        (KnownListing(NOW - APART), LISTED, ListingChange.CONFIRM),
        (KnownListing(NOW - APART / 2), LISTED, ListingChange.NOTHING),  # too soon
        (KnownListing(NOW - APART, NOW), LISTED, ListingChange.NOTHING),
        (KnownListing(NOW - APART), Clear(), ListingChange.END),
        (KnownListing(NOW - APART, NOW), Clear(), ListingChange.END),
        (KnownListing(NOW - APART, NOW), Unanswered("SERVFAIL"), ListingChange.NOTHING),
        (None, Unanswered("SERVFAIL"), ListingChange.NOTHING),
    ],
)
def test_a_listing_counts_when_it_is_seen_twice(
    known: KnownListing | None, said: Said, expected: ListingChange
) -> None:
    assert move(known, said, NOW, APART) is expected
