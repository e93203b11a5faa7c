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
    relation="dealer",
    informed="in the contract",
)
assessor = load_assessor()


@pytest.mark.parametrize("basis", [*ACCEPTABLE, Basis.THIRD_PARTY])
def test_full_evidence_lacks_nothing_and_none_lacks_all(basis: Basis) -> None:
    assert assessor.missing(basis, FULL, AT) == ()
    lacking = set(assessor.missing(basis, Evidence(), None))
    assert lacking == {need.value for need in REQUIRED[basis]} - {
        f"statement_{part}" for part in ("mail", "sender", "subject")
    }


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
    ("statement", "missing"),
    [
        ("I agree", ("statement_mail", "statement_sender", "statement_subject")),
        ("Ja, ik ontvang per e-mail aanbiedingen van Geselecteerde Partners.", ("statement_sender",)),
        ("Shop B.V. may e-mail me.", ("statement_subject",)),
        ("I accept the terms and conditions of Shop B.V.", ("statement_mail", "statement_sender", "statement_subject")),
        ("I accept the privacy policy, and I would like to get the newsletter of Shop B.V.", ()),
    ],
)
def test_a_statement_that_does_not_say_it_all_says_what_it_lacks(statement: str, missing: tuple[str, ...]) -> None:
    assert assessor.missing(Basis.DOUBLE_OPT_IN, replace(FULL, statement=statement), AT) == missing
    for name in missing:
        assert "statement" in NEEDED[Requirement(name)]


def test_we_is_a_sender_on_a_form_of_ones_own_only() -> None:
    ours = replace(FULL, statement="Yes, send me your newsletter with offers.")
    assert assessor.missing(Basis.DOUBLE_OPT_IN, ours, AT) == ()
    assert assessor.missing(Basis.CO_REGISTRATION, ours, AT) == ("statement_sender",)


def test_a_registered_name_needs_no_capitals() -> None:
    lower = replace(FULL, statement="ja, bakkerij jansen mag mij mailen over brood en aanbiedingen")
    assert assessor.missing(Basis.DOUBLE_OPT_IN, lower, AT) == ("statement_sender",)
    assert assessor.missing(Basis.DOUBLE_OPT_IN, lower, AT, {"Bakkerij Jansen B.V."}) == ()


def test_a_relation_needs_no_express_statement() -> None:
    dealer = Evidence(relation="dealer", informed="contract, section 4", category="tools", objection_offered=True)
    assert assessor.missing(Basis.RELATION, dealer, None) == ()
    untold = replace(dealer, informed="", objection_offered=None)
    assert assessor.missing(Basis.RELATION, untold, None) == ("informed", "objection_offered")


def test_every_requirement_is_described_and_may_be_waived() -> None:
    assert set(NEEDED) == set(Requirement)
    assert set(get_args(EvidenceName)) == {need.value for need in Requirement}


def test_the_host_of_a_page() -> None:
    assert source_host("https://WWW.Shop.example:8443/x") == "www.shop.example"
    assert source_host("ftp://shop.example") == source_host("https://[::1") == source_host("shop.example") == ""


def test_rules_are_told_little() -> None:
    assert facts_of(FULL) == {"source_host": "www.shop.example", "sponsors": "Shop B.V.", "category": "shoes"}
    assert facts_of(Evidence(), "Other Ltd") == {"sender": "Other Ltd"}
