"""Which consents hold, for which topic, until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from policy.permission.consent import (
    ACCEPTABLE,
    UNACCEPTABLE,
    Absent,
    Basis,
    Consent,
    Holds,
    Incomplete,
    Lapsed,
    OffTopic,
    Revoked,
    Sign,
    Terms,
    Unacceptable,
    judge,
    months_after,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GIVEN = datetime(2026, 1, 10, tzinfo=UTC)
TERMS = Terms()


def consent(topic: str = "offers", **others: object) -> Consent:
    basis = others.pop("basis", Basis.DOUBLE_OPT_IN)
    base = Consent(basis, frozenset({topic}), GIVEN, GIVEN, 1)  # type: ignore[arg-type]
    return replace(base, **others)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_one_that_covers_the_topic_holds_until_it_lapses() -> None:
    assert judge([consent()], "offers", NOW, TERMS) == Holds(consent(), at("2027-07-10"))


def test_silence_is_no_consent() -> None:
    assert judge([], "offers", NOW, TERMS) == Absent()


def test_another_topic_is_not_covered_and_the_agreed_ones_are_told() -> None:
    assert judge([consent("news"), consent("events")], "offers", NOW, TERMS) == OffTopic(("events", "news"))
    assert isinstance(judge([consent("*")], "offers", NOW, TERMS), Holds)


def test_before_the_topic_is_known_any_will_do() -> None:
    assert isinstance(judge([consent("news")], None, NOW, TERMS), Holds)
    assert isinstance(judge([consent("news", revoked_at=NOW)], None, NOW, TERMS), Revoked)


def test_a_purchase_covers_only_what_it_names() -> None:
    assert isinstance(judge([consent("*", basis=Basis.PURCHASE)], "shoes", NOW, TERMS), OffTopic)
    assert isinstance(judge([consent("shoes", basis=Basis.PURCHASE)], "shoes", NOW, TERMS), Holds)


@pytest.mark.parametrize("basis", [basis for basis in Basis if basis not in ACCEPTABLE])
def test_a_basis_that_is_never_accepted_says_why(basis: Basis) -> None:
    assert isinstance(judge([consent(basis=basis)], "offers", NOW, TERMS), Unacceptable)
    assert UNACCEPTABLE[basis]


def test_what_is_missing_counts_unless_waived() -> None:
    incomplete = consent(missing=("ip", "statement"))
    assert judge([incomplete], "offers", NOW, TERMS) == Incomplete(incomplete, ("ip", "statement"))
    waived = Terms(waived=frozenset({"ip"}))
    assert judge([incomplete], "offers", NOW, waived) == Incomplete(incomplete, ("statement",))


def test_it_lapses_after_18_months_without_contact() -> None:
    old = consent(given_at=at("2024-09-01"), confirmed_at=at("2024-09-01"))
    assert judge([old], "offers", NOW, TERMS) == Lapsed(old, at("2026-03-01"))
    assert isinstance(judge([old], "offers", at("2026-02-28"), TERMS), Holds)
    assert judge([old], "offers", NOW, Terms(lapse_months=None)) == Holds(old, None)


def test_contact_renews_it_if_the_profile_says_so() -> None:
    old = consent(given_at=at("2024-09-01"), confirmed_at=None, contacted_at=at("2026-01-01"))
    assert judge([old], "offers", NOW, TERMS) == Holds(old, at("2027-07-01"))
    clicks_only = Terms(renewed_by=frozenset({Sign.CLICK}))
    assert judge([old], "offers", NOW, clicks_only) == Lapsed(old, at("2026-03-01"))
    clicked = replace(old, clicked_at=at("2025-12-01"))
    assert judge([clicked], "offers", NOW, clicks_only) == Holds(clicked, at("2027-06-01"))


def test_a_revoked_topic_ends_the_consent_to_every_topic_for_that_topic_alone() -> None:
    everything, revoked = consent("*"), consent("offers", revoked_at=at("2026-03-01"))
    assert isinstance(judge([everything, revoked], "offers", NOW, TERMS), Revoked)
    assert isinstance(judge([everything, revoked], "news", NOW, TERMS), Holds)


def test_revoking_everything_ends_each_older_consent_and_no_newer_one() -> None:
    everything = consent("*", revoked_at=at("2026-03-01"))
    assert isinstance(judge([everything, consent("news")], "news", NOW, TERMS), Revoked)
    newer = consent("news", given_at=at("2026-04-01"), confirmed_at=at("2026-04-02"))
    assert isinstance(judge([everything, newer], "news", NOW, TERMS), Holds)


def test_of_several_the_one_that_holds_counts_else_the_nearest_is_told() -> None:
    good, bought = consent("offers"), consent("*", basis=Basis.BOUGHT)
    assert isinstance(judge([bought, good], "offers", NOW, TERMS), Holds)
    unproved = replace(good, missing=("ip",))
    assert isinstance(judge([bought, unproved], "offers", NOW, TERMS), Incomplete)


@pytest.mark.parametrize(
    ("start", "months", "end"),
    [("2026-01-31", 1, "2026-02-28"), ("2024-08-31", 18, "2026-02-28"), ("2026-12-15", 1, "2027-01-15")],
)
def test_months_are_those_of_the_calendar(start: str, months: int, end: str) -> None:
    assert months_after(at(start), months) == at(end)
