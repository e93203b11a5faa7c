"""Breakers: rates with a floor, never a stop for a handful, and nobody suppressed."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.rules import load_rules
from mta.mail.address import Address
from mta.mail.delivery import Action, Classification, Deferred, Delivered, Failed, Fault, QueuedRecipient, Result, Stage
from mta.mail.hold import HoldSource
from mta.mail.message import Stream
from mta.mail.reply import Reply
from policy.reputation.breaker import (
    BreakerKind,
    DeliveryCounts,
    Level,
    MailingScope,
    ProviderScope,
    Scope,
    Thresholds,
    breaker_hold,
    counted,
    judge,
    judge_all,
    less,
)
from tests.unit.mta.store.make import now

MAILING = MailingScope(7, "01jabc")
FRESH = replace(MAILING, fresh=True)
LANE = ProviderScope(7, "gmail", Stream.MARKETING)
SCOPES = (MAILING, FRESH, LANE)
ITS = Thresholds()
RESULT = Result(QueuedRecipient(0, Address.parse("ann@example.net")), Stage.RECIPIENT, Reply(550, "5.7.1", "no"))


def level(scope: Scope, kind: BreakerKind, counts: DeliveryCounts) -> Level | None:
    finding = judge(scope, kind, counts, ITS)
    return finding.level if finding else None


@pytest.mark.parametrize(
    ("complaints", "expected"),
    [(0, None), (9, None), (10, Level.WARN), (24, Level.WARN), (25, Level.STOP), (30, Level.STOP)],
)
def test_complaints_warn_at_one_in_a_thousand_and_stop_before_three(complaints: int, expected: Level | None) -> None:
    counts = DeliveryCounts(delivered=10_000, complaints=complaints)
    assert {level(scope, BreakerKind.COMPLAINTS, counts) for scope in SCOPES} == {expected}


@pytest.mark.parametrize(
    ("kind", "few", "many"),
    [
        (
            BreakerKind.COMPLAINTS,
            DeliveryCounts(delivered=10, complaints=1),
            DeliveryCounts(delivered=50, complaints=10),
        ),
        (BreakerKind.HARD_BOUNCES, DeliveryCounts(delivered=1, hard=9), DeliveryCounts(delivered=100, hard=60)),
        (BreakerKind.REJECTIONS, DeliveryCounts(refused=10), DeliveryCounts(refused=60)),
        (BreakerKind.TRAPS, DeliveryCounts(delivered=10, traps=0), DeliveryCounts(delivered=10, traps=3)),
    ],
)
def test_below_the_floor_a_few_stop_nothing_and_many_do(
    kind: BreakerKind, few: DeliveryCounts, many: DeliveryCounts
) -> None:
    assert level(LANE, kind, few) is None
    assert level(LANE, kind, many) is Level.STOP


def test_unknown_users_count_for_the_first_of_a_fresh_list_only() -> None:
    counts = DeliveryCounts(delivered=900, hard=60, unknown=60)
    assert level(FRESH, BreakerKind.UNKNOWN_USERS, counts) is Level.STOP
    assert level(MAILING, BreakerKind.UNKNOWN_USERS, counts) is None
    assert level(LANE, BreakerKind.UNKNOWN_USERS, counts) is None
    later = DeliveryCounts(delivered=3000, hard=200, unknown=200)
    assert level(FRESH, BreakerKind.UNKNOWN_USERS, later) is None  # what comes then is the hard-bounce rate's


def test_one_trap_is_told_and_three_stop() -> None:
    assert level(MAILING, BreakerKind.TRAPS, DeliveryCounts(traps=1)) is Level.WARN
    assert level(MAILING, BreakerKind.TRAPS, DeliveryCounts(traps=3)) is Level.STOP


def test_a_finding_says_its_name_and_figures() -> None:
    finding = judge(LANE, BreakerKind.REJECTIONS, DeliveryCounts(delivered=700, refused=300), ITS)
    assert finding is not None
    assert finding.name == "rejections:account:7:gmail:marketing"
    assert finding.words == "300 rejections of 1000 recipients (30.00%, limit 20.00%)"
    hold = breaker_hold(finding.name, finding.words)
    assert (hold.source, hold.ref) == (HoldSource.BREAKER, finding.name)
    assert hold.text.startswith("300 rejections")


def test_a_finding_about_few_says_as_how_many_they_count() -> None:
    finding = judge(LANE, BreakerKind.REJECTIONS, DeliveryCounts(delivered=20, refused=60), ITS)
    assert finding is not None
    assert finding.words == "60 rejections of 80 recipients, counted as 250 (24.00%, limit 20.00%)"


some = st.integers(0, 10_000)
all_counts = st.builds(
    lambda delivered, known, unknown, soft, complaints, traps, refused: DeliveryCounts(
        delivered, known + unknown, unknown, soft, complaints, traps, refused
    ),
    *[some] * 7,
)


@given(all_counts)
def test_no_rate_stops_with_fewer_cases_than_the_floor_asks_for(counts: DeliveryCounts) -> None:
    least = {
        BreakerKind.COMPLAINTS: (counts.complaints, ITS.complaints_stop * ITS.complaints_floor),
        BreakerKind.HARD_BOUNCES: (counts.hard, ITS.hard_bounces_stop * ITS.hard_bounces_floor),
        BreakerKind.UNKNOWN_USERS: (counts.unknown, ITS.unknown_users_stop * ITS.unknown_users_floor),
        BreakerKind.REJECTIONS: (counts.refused, ITS.rejections_stop * ITS.rejections_floor),
        BreakerKind.TRAPS: (counts.traps, ITS.traps_stop),
    }
    for scope in SCOPES:
        for finding in judge_all(scope, counts, ITS):
            cases, needed = least[finding.kind]
            assert finding.level is Level.WARN or cases >= needed


@given(all_counts, st.integers(1, 1000))
def test_more_deliveries_never_make_it_worse(counts: DeliveryCounts, more: int) -> None:
    better = replace(counts, delivered=counts.delivered + more)
    for kind in (BreakerKind.COMPLAINTS, BreakerKind.HARD_BOUNCES, BreakerKind.REJECTIONS):
        before, after = (judge(LANE, kind, each, ITS) for each in (counts, better))
        assert after is None or (before is not None and after.rate <= before.rate)


@given(all_counts, all_counts)
def test_what_was_forgiven_is_taken_off_and_no_more(counts: DeliveryCounts, forgiven: DeliveryCounts) -> None:
    left = less(counts, forgiven)
    assert less(counts, counts) == DeliveryCounts()
    assert all(
        max(0, getattr(counts, name) - getattr(forgiven, name)) == getattr(left, name)
        for name in DeliveryCounts.__slots__
    )


# --- what counts as what


def outcomes(meaning: Classification) -> list[Failed | Deferred]:
    return [Failed(RESULT, meaning), Deferred(RESULT, meaning, now())]


def test_what_arrives_is_delivered() -> None:
    assert counted(Delivered(RESULT), reached=True) == DeliveryCounts(delivered=1)


def test_every_category_that_is_the_senders_fault_counts_as_a_refusal_and_suppresses_nobody() -> None:
    """Row 49 of the rules: reputation, policy, authentication and blocklists are the sender's fault."""
    book = load_rules()
    against = [each for each in book.categories.values() if each.fault is Fault.SENDER or each.name == "spam_content"]
    assert {"blocklisted", "bad_reputation", "policy_refusal", "dmarc_policy", "rate_limited"} <= {
        each.name for each in against
    }
    for category in against:
        assert category.action is not Action.SUPPRESS
        for outcome in outcomes(Classification(category.name, category.fault, category.action, "a-rule")):
            assert counted(outcome, reached=True) == DeliveryCounts(refused=1)
            assert counted(outcome, reached=False) is None  # an operator's word is no receiver's


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("bad_mailbox", DeliveryCounts(hard=1, unknown=1)),
        ("inactive_mailbox", DeliveryCounts(hard=1)),
        ("bad_domain", DeliveryCounts(hard=1)),
        ("mailbox_full", DeliveryCounts(soft=1)),
    ],
)
def test_recipients_that_do_not_exist_are_hard(category: str, expected: DeliveryCounts) -> None:
    found = load_rules().categories[category]
    meaning = Classification(category, found.fault, found.action, "a-rule")
    assert counted(Failed(RESULT, meaning), reached=True) == expected
    assert counted(Deferred(RESULT, meaning, now()), reached=True) == DeliveryCounts(soft=1)


def test_what_was_suppressed_or_expired_before_an_attempt_counts_as_nothing() -> None:
    for category, fault in (("suppressed", Fault.RECIPIENT), ("expired", Fault.SITE), ("operator", Fault.SENDER)):
        meaning = Classification(category, fault, Action.FAIL, category)
        assert counted(Failed(RESULT, meaning), reached=False) is None


@pytest.mark.parametrize(
    "path",
    ["policy/reputation/breaker.py", "mta/store/reputation/breakers.py"],
)
def test_breakers_have_nothing_to_suppress_with(path: str) -> None:
    """Whatever the scope and whatever has happened: nothing that breakers do can reach the suppressions."""
    source = (Path(__file__).parents[4] / path).read_text()
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for name in [node.module, *(each.name for each in node.names)]
    }
    assert not {name for name in imported if name and "suppress" in name}
    assert "suppression" not in source.replace("mta.store.suppress", "").split('"""', 2)[2]


@pytest.mark.parametrize("category", ["rate_limited", "bad_reputation"])
def test_a_temporary_limit_trips_nothing(category: str) -> None:
    """The site is given less, and recovers by itself; a refusal counts."""
    meaning = Classification(category, Fault.SENDER, Action.FAIL, "rule")
    later, never = (
        Result(RESULT.recipient, Stage.FINAL_DOT, Reply(code, status, "limited"))
        for code, status in ((421, "4.7.28"), (550, "5.7.28"))
    )
    assert counted(Deferred(later, meaning, now()), reached=True) == DeliveryCounts(soft=1)
    assert counted(Failed(never, meaning), reached=True) == DeliveryCounts(refused=1)
