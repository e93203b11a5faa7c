"""The cap per recipient: over a day, a week, a month; of one account and of all."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from policy.accounts.account import Stream
from policy.base import RecipientFacts, Refuse
from policy.rules.recipient.frequency import Frequency
from tests.unit.policy.make import BOB, CONTEXT, NOW, ask_recipient, facts


def ago(*hours: float) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(hours=hour) for hour in hours)


def rule(**settings: int | None) -> Frequency:
    return Frequency(Frequency.Settings(**{"day": None, "week": None, **settings}), CONTEXT)


def answer(subject: Frequency, *hours: float, everywhere: tuple[datetime, ...] = ()) -> str:
    return ask_recipient(subject, RecipientFacts(BOB, accepted=ago(*hours), everywhere=everywhere))


def test_below_the_cap() -> None:
    assert answer(rule(day=3), 20, 10) == "pass: 2 known of lately"


def test_at_the_cap_the_answer_says_when() -> None:
    assert answer(rule(day=2), 23, 10) == (
        'refuse: 450 4.7.1 frequency: <bob@example.net> has had 2 marketing messages of account "shop" within a day, '
        "the most allowed; send it after 2026-11-21 21:00 UTC, or not at all"
    )
    verdict, _ = rule(day=2).on_recipient(RecipientFacts(BOB, accepted=ago(23, 10)), facts(), NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.reply.retry_after == 3600


def test_what_is_long_ago_does_not_count() -> None:
    assert answer(rule(day=2), 99, 25, 24, 1).startswith("pass")


def test_each_span_counts_by_itself() -> None:
    assert "within a week" in answer(rule(day=5, week=3), 150, 90, 60)
    assert "within a month" in answer(rule(month=1), 700)


def test_all_accounts_together() -> None:
    subject = rule(everywhere_day=2)
    assert "of all accounts within a day" in answer(subject, everywhere=ago(3, 2))
    assert answer(subject, 3, 2).startswith("pass")


def test_what_is_not_marketing_is_never_delayed() -> None:
    recipient = RecipientFacts(BOB, accepted=ago(3, 2, 1))
    assert ask_recipient(rule(day=1), recipient, facts(stream=Stream.TRANSACTIONAL)) == "pass: not marketing"


@given(st.lists(st.floats(0, 2000), max_size=30), st.integers(1, 30))
def test_the_order_of_the_facts_does_not_matter_and_the_count_is_exact(hours: list[float], cap: int) -> None:
    within = sum(NOW - moment < timedelta(days=7) for moment in ago(*hours))
    for order in (hours, sorted(hours), sorted(hours, reverse=True)):
        assert answer(rule(week=cap), *order).startswith("refuse") == (within >= cap)
