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
from mta.mail.message import Stream
from mta.mail.reply import Reply
from policy import breaker
from policy.breaker import (
    Counts,
    Kind,
    Level,
    MailingScope,
    ProviderScope,
    Scope,
    Thresholds,
    counted,
    hold_reason,
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


def level(scope: Scope, kind: Kind, counts: Counts) -> Level | None:
    finding = judge(scope, kind, counts, ITS)
    return finding.level if finding else None


@pytest.mark.parametrize(
    ("complaints", "expected"),
    [(0, None), (9, None), (10, Level.WARN), (24, Level.WARN), (25, Level.STOP), (30, Level.STOP)],
)
def test_complaints_warn_at_one_in_a_thousand_and_stop_before_three(complaints: int, expected: Level | None) -> None:
    counts = Counts(delivered=10_000, complaints=complaints)
    assert {level(scope, Kind.COMPLAINTS, counts) for scope in SCOPES} == {expected}


@pytest.mark.parametrize(
    ("kind", "few", "many"),
    [
        (Kind.COMPLAINTS, Counts(delivered=10, complaints=1), Counts(delivered=50, complaints=10)),
        (Kind.HARD_BOUNCES, Counts(delivered=1, hard=9), Counts(delivered=100, hard=60)),
        (Kind.REFUSALS, Counts(refused=10), Counts(refused=60)),
        (Kind.TRAPS, Counts(delivered=10, traps=0), Counts(delivered=10, traps=3)),
    ],
)
def test_below_the_floor_a_few_stop_nothing_and_many_do(kind: Kind, few: Counts, many: Counts) -> None:
    assert level(LANE, kind, few) is None
    assert level(LANE, kind, many) is Level.STOP


def test_unknown_users_count_for_the_first_of_a_fresh_list_only() -> None:
    counts = Counts(delivered=900, hard=60, unknown=60)
    assert level(FRESH, Kind.UNKNOWN_USERS, counts) is Level.STOP
    assert level(MAILING, Kind.UNKNOWN_USERS, counts) is None
    assert level(LANE, Kind.UNKNOWN_USERS, counts) is None
    later = Counts(delivered=3000, hard=200, unknown=200)
    assert level(FRESH, Kind.UNKNOWN_USERS, later) is None  # what comes then is the hard-bounce rate's


def test_one_trap_is_told_and_three_stop() -> None:
    assert level(MAILING, Kind.TRAPS, Counts(traps=1)) is Level.WARN
    assert level(MAILING, Kind.TRAPS, Counts(traps=3)) is Level.STOP


def test_a_finding_says_its_name_and_figures() -> None:
    finding = judge(LANE, Kind.REFUSALS, Counts(delivered=700, refused=300), ITS)
    assert finding is not None
    assert finding.name == "refusals:account:7:gmail:marketing"
    assert finding.words == "300 refusals of 1000 recipients (30.00%, limit 20.00%)"
    assert hold_reason(finding.name, finding.words).startswith(f"{breaker.HELD}{finding.name}: 300 refusals")


some = st.integers(0, 10_000)
all_counts = st.builds(
    lambda delivered, known, unknown, soft, complaints, traps, refused: Counts(
        delivered, known + unknown, unknown, soft, complaints, traps, refused
    ),
    *[some] * 7,
)


@given(all_counts)
def test_no_rate_stops_with_fewer_cases_than_the_floor_asks_for(counts: Counts) -> None:
    least = {
        Kind.COMPLAINTS: (counts.complaints, ITS.complaints_stop * ITS.complaints_floor),
        Kind.HARD_BOUNCES: (counts.hard, ITS.hard_bounces_stop * ITS.hard_bounces_floor),
        Kind.UNKNOWN_USERS: (counts.unknown, ITS.unknown_users_stop * ITS.unknown_users_floor),
        Kind.REFUSALS: (counts.refused, ITS.refusals_stop * ITS.refusals_floor),
        Kind.TRAPS: (counts.traps, ITS.traps_stop),
    }
    for scope in SCOPES:
        for finding in judge_all(scope, counts, ITS):
            cases, needed = least[finding.kind]
            assert finding.level is Level.WARN or cases >= needed


@given(all_counts, st.integers(1, 1000))
def test_more_deliveries_never_make_it_worse(counts: Counts, more: int) -> None:
    better = replace(counts, delivered=counts.delivered + more)
    for kind in (Kind.COMPLAINTS, Kind.HARD_BOUNCES, Kind.REFUSALS):
        before, after = (judge(LANE, kind, each, ITS) for each in (counts, better))
        assert after is None or (before is not None and after.rate <= before.rate)


@given(all_counts, all_counts)
def test_what_was_forgiven_is_taken_off_and_no_more(counts: Counts, forgiven: Counts) -> None:
    left = less(counts, forgiven)
    assert less(counts, counts) == Counts()
    assert all(
        max(0, getattr(counts, name) - getattr(forgiven, name)) == getattr(left, name) for name in Counts.__slots__
    )


# --- what counts as what


def outcomes(meaning: Classification) -> list[Failed | Deferred]:
    return [Failed(RESULT, meaning), Deferred(RESULT, meaning, now())]


def test_what_arrives_is_delivered() -> None:
    assert counted(Delivered(RESULT), reached=True) == Counts(delivered=1)


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
            assert counted(outcome, reached=True) == Counts(refused=1)
            assert counted(outcome, reached=False) is None  # an operator's word is no receiver's


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        ("bad_mailbox", Counts(hard=1, unknown=1)),
        ("inactive_mailbox", Counts(hard=1)),
        ("bad_domain", Counts(hard=1)),
        ("mailbox_full", Counts(soft=1)),
    ],
)
def test_recipients_that_do_not_exist_are_hard(category: str, expected: Counts) -> None:
    found = load_rules().categories[category]
    meaning = Classification(category, found.fault, found.action, "a-rule")
    assert counted(Failed(RESULT, meaning), reached=True) == expected
    assert counted(Deferred(RESULT, meaning, now()), reached=True) == Counts(soft=1)


def test_what_was_suppressed_or_expired_before_an_attempt_counts_as_nothing() -> None:
    for category, fault in (("suppressed", Fault.RECIPIENT), ("expired", Fault.SITE), ("operator", Fault.SENDER)):
        meaning = Classification(category, fault, Action.FAIL, category)
        assert counted(Failed(RESULT, meaning), reached=False) is None


@pytest.mark.parametrize("path", ["policy/breaker.py", "mta/store/breakers.py", "mta/store/breaker_moves.py"])
def test_breakers_have_nothing_to_suppress_with(path: str) -> None:
    """Whatever the scope and whatever has happened: nothing that breakers do can reach the suppressions."""
    source = (Path(__file__).parents[3] / path).read_text()
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        for name in [node.module, *(each.name for each in node.names)]
    }
    assert not {name for name in imported if name and "suppress" in name}
    assert "suppression" not in source.replace("mta.store.suppress", "").split('"""', 2)[2]
