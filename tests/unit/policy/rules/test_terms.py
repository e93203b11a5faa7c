"""The terms in force must have been accepted; the version before is good for the grace time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from policy.accounts.account import Acceptance
from policy.rules.account.terms import TermsAccepted
from tests.unit.policy.make import CONTEXT, NOW, account, ask, facts

SINCE = NOW - timedelta(days=10)
RULE = TermsAccepted(
    TermsAccepted.Settings(),
    replace(CONTEXT, terms="3", terms_since=SINCE.date(), terms_grace=timedelta(days=14)),
)
MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)


def answer(version: str, at: datetime, now: datetime = NOW) -> str:
    return ask(RULE, known=facts(account(terms=Acceptance(version, at, "Ann Lee"))), now=now)


def test_the_version_in_force_is_good_for_ever() -> None:
    assert answer("3", NOW, NOW + timedelta(days=999)) == "pass: version 3 accepted 2026-11-21 by Ann Lee"


def test_the_version_before_is_good_until_the_grace_ends() -> None:
    assert "version 3 must be accepted by 2026-11-25" in answer("2", NOW - timedelta(days=99))
    assert answer("2", NOW - timedelta(days=99), MIDNIGHT + timedelta(days=14)) == (
        'refuse: 550 5.7.1 terms: account "shop" has accepted version 2 of the terms, but version 3 is in force since '
        "2026-11-11; accept version 3 to go on sending"
    )


@pytest.mark.parametrize("moment", [MIDNIGHT, NOW])
def test_an_old_version_accepted_after_the_new_one_came_is_no_acceptance(moment: datetime) -> None:
    assert answer("2", moment).startswith("refuse: 550 5.7.1 terms:")


def test_who_has_accepted_nothing_sends_nothing() -> None:
    rule = TermsAccepted(TermsAccepted.Settings(), replace(CONTEXT, terms_since=date(2026, 11, 21)))
    assert ask(rule) == (
        'refuse: 550 5.7.1 terms: the terms have not been accepted for account "shop"; '
        "accept version 1 to go on sending"
    )
