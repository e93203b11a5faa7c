"""What each basis asks for, and what does not count as it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from policy.permission.consent import ACCEPTABLE, Basis
from policy.permission.evidence import (
    NEEDED,
    REQUIRED,
    Evidence,
    Requirement,
    facts_of,
    load_assessor,
    source_host,
)
from policy.rules.recipient.opt_in import EvidenceName

AT = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Evidence(
    source_url="https://www.shop.example/newsletter",
    ip="192.0.2.7",
    statement="Yes, Shop B.V. may mail me its offers.",
    preticked=False,
    sponsors=("Shop B.V.",),
    document="ab" * 32,
    purchase="order 1",
    category="shoes",
    objection_offered=True,
    collector="Fair Ltd",
)
assessor = load_assessor()


@pytest.mark.parametrize("basis", [*ACCEPTABLE, Basis.THIRD_PARTY])
def test_full_evidence_lacks_nothing_and_none_lacks_all(basis: Basis) -> None:
    assert assessor.missing(basis, FULL, AT) == ()
    lacking = set(assessor.missing(basis, Evidence(), None))
    assert lacking == {need.value for need in REQUIRED[basis]} - {"clear_statement"}


def test_each_acceptable_basis_asks_for_something() -> None:
    assert all(REQUIRED[basis] for basis in ACCEPTABLE)


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"preticked": True}, "not_preticked"),
        ({"preticked": None}, "not_preticked"),
        ({"source_url": "newsletter form"}, "source_url"),
        ({"source_url": "https://www.LinkedIn.com/in/ann"}, "source_url"),
        ({"source_url": "https://xing.com/x"}, "source_url"),
        ({"sponsors": tuple(f"S{n}" for n in range(11))}, "sponsors"),
        ({"sponsors": ()}, "sponsors"),
        ({"ip": ""}, "ip"),
    ],
)
def test_what_does_not_count(changed: dict[str, object], missing: str) -> None:
    assert assessor.missing(Basis.CO_REGISTRATION, replace(FULL, **changed), AT) == (missing,)


def test_a_host_that_only_ends_like_a_social_network_is_none() -> None:
    assert assessor.missing(Basis.CO_REGISTRATION, replace(FULL, source_url="https://notx.com/f"), AT) == ()


def test_no_objection_offered_is_no_customer_exception() -> None:
    assert assessor.missing(Basis.PURCHASE, replace(FULL, objection_offered=False), None) == ("objection_offered",)


@pytest.mark.parametrize(
    "statement",
    [
        "Ja, ik ontvang aanbiedingen van Geselecteerde Partners.",
        "Ich bin mit Post von ausgewählten Partnern einverstanden.",
        "Je reçois les offres de nos partenaires.",
        "Acepto ofertas de empresas colaboradoras.",
        "I accept the terms and conditions.",
    ],
)
def test_a_statement_that_names_nobody_is_none(statement: str) -> None:
    assert assessor.missing(Basis.DOUBLE_OPT_IN, replace(FULL, statement=statement), AT) == ("clear_statement",)


def test_a_word_within_another_one_is_not_meant() -> None:
    assert assessor.missing(Basis.DOUBLE_OPT_IN, replace(FULL, statement="Ja, Stagbau AGBau darf mailen"), AT) == ()


def test_every_requirement_is_described_and_may_be_waived() -> None:
    assert set(NEEDED) == set(Requirement)
    assert set(get_args(EvidenceName)) == {need.value for need in Requirement}


def test_the_host_of_a_page() -> None:
    assert source_host("https://WWW.Shop.example:8443/x") == "www.shop.example"
    assert source_host("ftp://shop.example") == source_host("https://[::1") == source_host("shop.example") == ""


def test_rules_are_told_little() -> None:
    assert facts_of(FULL) == {"source_host": "www.shop.example", "sponsors": "Shop B.V.", "category": "shoes"}
    assert facts_of(Evidence()) == {}
