"""Confirmation and sampling: what may leave, what waits, what is refused, and what the answer says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from policy.accounts.account import Account
from policy.accounts.mailing import Confirmation, Mailing, Sample
from policy.base import Facts, Hold, Pass, Refuse, Verdict
from policy.mailing.reference import BeingConfirmed, Compared, Matched, Unmatched, compile_reference, source_of
from policy.permission.tokens import SampleTokens
from policy.rule_context import RuleContext
from policy.rules.mailing.confirmation import Confirmed
from policy.rules.mailing.sampling import Sampling
from tests.unit.policy.rules.test_stamps import message

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)
CONTEXT = RuleContext("mx.example.com", SampleTokens(), terms="2", terms_since=date(2026, 5, 1))
WORD = Confirmation(NOW - timedelta(hours=1), "bob", "2")
JUNE = Mailing(
    "01j0000000000000000000000a", 7, "june", "offers", "customers", WORD, origin="shop orders", approved=True
)


def check(mailing: Mailing | None, name: str | None = "june", topic: str | None = "offers", **settings: Any) -> Verdict:
    facts = Facts(
        Account(7, "shop", frozenset()), stream=Stream.MARKETING, mailing_name=name, mailing=mailing, topic=topic
    )
    verdict, _ = Confirmed(Confirmed.Settings(**settings), CONTEXT).on_content(message(), facts, NOW)
    return verdict


def refused(verdict: Verdict) -> str:
    assert isinstance(verdict, Refuse)
    assert (verdict.reply.code, verdict.reply.status) == (550, "5.7.1")
    assert verdict.reply.text.startswith("confirmation: ")
    return verdict.reply.text


def test_a_confirmed_mailing_to_an_approved_list_goes() -> None:
    assert check(JUNE) == Pass()


def test_mail_without_a_mailing_or_with_an_unknown_one_is_refused() -> None:
    assert "X-MTA-Mailing" in refused(check(None, name=None))
    assert 'no mailing "june" of account "shop"' in refused(check(None))


def test_what_is_not_confirmed_is_refused_or_held() -> None:
    waiting = replace(JUNE, confirmation=None)
    assert f"mta mailing confirm {JUNE.id}" in refused(check(waiting))
    verdict = check(waiting, unconfirmed="hold")
    assert isinstance(verdict, Hold)
    assert (verdict.source, verdict.ref) == (HoldSource.MAILING, "unconfirmed")


@pytest.mark.parametrize(
    ("mailing", "asked", "passes"),
    [
        (replace(JUNE, origin=None, approved=False), "any", True),
        (replace(JUNE, origin=None, approved=False), "known", False),
        (replace(JUNE, approved=False), "known", True),
        (replace(JUNE, approved=False), "approved", False),
        (JUNE, "approved", True),
    ],
)
def test_the_origin_of_the_list_must_be_known_as_the_profile_asks(mailing: Mailing, asked: str, passes: bool) -> None:
    verdict = check(mailing, list_origin=asked)
    assert isinstance(verdict, Pass) == passes
    if not passes:
        assert '"customers"' in refused(verdict)
        held = check(mailing, list_origin=asked, unapproved="hold")
        assert isinstance(held, Hold)
        assert held.ref == ("unknown_list" if asked == "known" else "unapproved_list")


def test_what_waits_for_list_and_word_says_the_list_so_that_the_word_alone_does_not_release_it() -> None:
    mailing = replace(JUNE, approved=False, confirmation=None)
    verdict = check(mailing, unconfirmed="hold", unapproved="hold")
    assert isinstance(verdict, Hold)
    assert verdict.ref == "unapproved_list"


MATCHED = Matched(compile_reference(4, source_of(b"From: a@shop.example\r\nSubject: Offers\r\n\r\nHello\r\n")))
DIFFERS = Unmatched(4, "in its text/plain, it differs")


@pytest.mark.parametrize(
    ("compared", "settings", "fate"),
    [
        (None, {}, "pass"),
        (None, {"reference": "required"}, "hold"),
        (None, {"reference": "required", "unmatched": "refuse"}, "refuse"),
        (MATCHED, {"reference": "required", "unmatched": "refuse"}, "pass"),
        (BeingConfirmed(), {"reference": "required"}, "pass"),
        (DIFFERS, {}, "hold"),
        (DIFFERS, {"unmatched": "refuse"}, "refuse"),
        (DIFFERS, {"unmatched": "observe"}, "pass"),
    ],
)
def test_what_was_confirmed_is_the_message(compared: Compared | None, settings: dict[str, Any], fate: str) -> None:
    facts = Facts(Account(7, "shop", frozenset()), mailing_name="june", mailing=JUNE, reference=compared)
    verdict, evidence = Confirmed(Confirmed.Settings(**settings), CONTEXT).on_content(message(), facts, NOW)
    assert type(verdict).__name__.lower() == fate
    if isinstance(verdict, Hold):
        assert (verdict.source, verdict.ref) == (HoldSource.MAILING, "unmatched")
        assert f"mta mailing confirm {JUNE.id} --message" in verdict.text
    if compared is DIFFERS:
        assert "it differs" in (evidence + str(verdict))
    if compared is MATCHED:
        assert evidence.endswith("the message is that of reference 4")


def test_what_waits_for_a_message_says_so_before_the_confirmation_too() -> None:
    verdict = check(replace(JUNE, confirmation=None), unconfirmed="hold", reference="required")
    assert isinstance(verdict, Hold)
    assert (verdict.ref, "--message" in verdict.text) == ("unmatched", True)


def test_a_stopped_mailing_is_refused_whatever_the_settings() -> None:
    stopped = replace(JUNE, stopped="wrong price")
    assert "(wrong price)" in refused(check(stopped, unconfirmed="hold", unapproved="hold", list_origin="any"))


def test_a_message_about_something_else_does_not_hide_behind_a_mailing() -> None:
    assert 'about "loans"' in refused(check(JUNE, topic="loans"))


def test_a_confirmation_is_not_for_ever() -> None:
    old = replace(JUNE, confirmation=replace(WORD, at=NOW - timedelta(days=8), terms="2"))
    assert check(old, lasts="8d") == Pass()
    assert "make a new mailing" in refused(check(old, lasts="7d"))


@pytest.mark.parametrize(
    ("at", "terms", "now", "passes"),
    [
        (datetime(2026, 4, 30, tzinfo=UTC), "1", datetime(2026, 5, 14, 23, tzinfo=UTC), True),  # within the grace
        (datetime(2026, 4, 30, tzinfo=UTC), "1", datetime(2026, 5, 15, tzinfo=UTC), False),
        (datetime(2026, 5, 2, tzinfo=UTC), "1", datetime(2026, 5, 3, tzinfo=UTC), False),  # the old one, given too late
        (datetime(2026, 5, 2, tzinfo=UTC), "2", datetime(2026, 5, 20, tzinfo=UTC), True),
    ],
)
def test_the_word_is_given_under_the_terms_in_force(at: datetime, terms: str, now: datetime, passes: bool) -> None:
    facts = Facts(
        Account(7, "shop", frozenset()),
        mailing_name="june",
        mailing=replace(JUNE, confirmation=Confirmation(at, "bob", terms)),
        topic="offers",
    )
    verdict, _ = Confirmed(Confirmed.Settings(), CONTEXT).on_content(message(), facts, now)
    assert isinstance(verdict, Pass) == passes


@pytest.mark.parametrize(
    ("sample", "waits"),
    [
        (None, False),
        (Sample(3), False),
        (Sample(3, taken=2), False),
        (Sample(3, taken=3), True),
        (Sample(3, taken=3, released_at=NOW), False),
    ],
)
def test_what_is_beyond_the_sample_waits_for_a_look(sample: Sample | None, waits: bool) -> None:
    facts = Facts(Account(7, "shop", frozenset()), mailing_name="june", mailing=replace(JUNE, sample=sample))
    verdict, _ = Sampling(Sampling.Settings(), CONTEXT).on_content(message(), facts, NOW)
    assert isinstance(verdict, Hold) == waits
    if isinstance(verdict, Hold):
        assert verdict.source is HoldSource.SAMPLING
        assert f"mta mailing release {JUNE.id}" in verdict.text


def test_mail_without_a_mailing_is_not_sampled() -> None:
    verdict, _ = Sampling(Sampling.Settings(), CONTEXT).on_content(
        message(), Facts(Account(7, "shop", frozenset())), NOW
    )
    assert verdict == Pass()
