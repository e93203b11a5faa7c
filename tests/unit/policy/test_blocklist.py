"""Blocklists: asked as RFC 5782 says, believed if they prove themselves, counted when seen twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from config.watching import Blocklist
from policy.blocklist import (
    Believed,
    Clear,
    Ignored,
    Known,
    Listed,
    Move,
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
LISTED = Listed(("127.0.0.2",))


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
        (["127.0.0.4", "127.0.0.2"], IP, Listed(("127.0.0.2", "127.0.0.4"))),
        (["127.0.0.2"], PICKY, Listed(("127.0.0.2",), "sends spam")),
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
        (None, Clear(), Move.NOTHING),
        (None, LISTED, Move.SEEN),
        (Known(NOW - APART), LISTED, Move.CONFIRM),
        (Known(NOW - APART / 2), LISTED, Move.NOTHING),  # too soon
        (Known(NOW - APART, NOW), LISTED, Move.NOTHING),
        (Known(NOW - APART), Clear(), Move.END),
        (Known(NOW - APART, NOW), Clear(), Move.END),
        (Known(NOW - APART, NOW), Unanswered("SERVFAIL"), Move.NOTHING),
        (None, Unanswered("SERVFAIL"), Move.NOTHING),
    ],
)
def test_a_listing_counts_when_it_is_seen_twice(known: Known | None, said: Said, expected: Move) -> None:
    assert move(known, said, NOW, APART) is expected
