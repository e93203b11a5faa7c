"""Thresholds of soft bounces; and nobody is suppressed, at once or in the end, for what is not their fault."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounce.classify import Classifier
from bounce.rules import BounceRule, load_rules
from bounce.suppression import (
    SoftBounceThresholds,
    Threshold,
    is_soft,
    soft_bounce_thresholds,
    soft_failures,
    threshold_faults,
)
from config.schema import SoftBounceThreshold, SuppressionSettings
from mta.mail.address import Address
from mta.mail.delivery import Action, Failed, Fault, QueuedRecipient, Result, Stage
from mta.mail.reply import Reply

BOOK = load_rules()
CLASSIFIER = Classifier(BOOK)
MOST_IMPATIENT = SoftBounceThresholds({name: Threshold(1, timedelta(days=365), 1) for name in BOOK.categories})
SAMPLES = [(rule, sample) for rule in BOOK.rules for sample in rule.samples]


def failed(reply: Reply, stage: Stage, host: str | None = None, n: int = 0, *, expired: bool = False) -> Failed:
    result = Result(QueuedRecipient(n, Address.parse(f"r{n}@example.com")), stage, reply)
    return Failed(result, CLASSIFIER.classify(reply, stage, host), expired)


def blamed(outcome: Failed) -> bool:
    """Whether it suppresses, or could with others, under thresholds for every category there is."""
    return outcome.classification.action is Action.SUPPRESS or any(soft_failures([outcome], MOST_IMPATIENT))


@pytest.mark.parametrize("stage", Stage)
def test_no_sample_of_a_rule_that_blames_others_suppresses(stage: Stage) -> None:
    guiltless = [
        (rule, sample)
        for rule, sample in SAMPLES
        if failed(sample, stage, host(rule)).classification.fault is not Fault.RECIPIENT
    ]
    assert len(guiltless) > 100
    assert not [sample for rule, sample in guiltless if blamed(failed(sample, stage, host(rule), expired=True))]


def host(rule: BounceRule) -> str | None:
    return f"mx{rule.mx[0]}" if rule.mx else None


def test_no_rule_or_category_that_blames_others_may_suppress() -> None:
    assert not [rule.id for rule in BOOK.rules if rule.fault is not Fault.RECIPIENT and rule.action is Action.SUPPRESS]
    assert not [
        name
        for name, each in BOOK.categories.items()
        if each.fault is not Fault.RECIPIENT and each.action is Action.SUPPRESS
    ]


@given(
    st.sampled_from(SAMPLES),
    st.sampled_from(Stage),
    st.integers(400, 599),
    st.tuples(st.sampled_from([4, 5]), st.integers(0, 9), st.integers(0, 999)),
    st.booleans(),
)
def test_whatever_code_a_text_comes_with_the_fault_decides(
    drawn: tuple[BounceRule, Reply], stage: Stage, code: int, status: tuple[int, int, int], expired: bool
) -> None:
    rule, sample = drawn
    reply = Reply(code, ".".join(map(str, status)), sample.text)
    outcome = failed(reply, stage, host(rule), expired=expired)
    if outcome.classification.fault is not Fault.RECIPIENT:
        assert not blamed(outcome)


def test_a_full_mailbox_counts_if_rcpt_to_was_answered() -> None:
    full = Reply(552, "5.2.2", "Mailbox full")
    named = failed(full, Stage.RECIPIENT)
    of_the_message = [failed(full, stage) for stage in (Stage.DATA, Stage.FINAL_DOT)]
    assert is_soft(named.classification)
    assert list(soft_failures([named, *of_the_message], MOST_IMPATIENT)) == [named]
    assert list(soft_failures([named], SoftBounceThresholds())) == []


@pytest.mark.parametrize("stage", [each for each in Stage if each not in (Stage.RECIPIENT, Stage.RESOLVE)])
def test_no_rule_blames_a_recipient_for_what_the_stage_answers(stage: Stage) -> None:
    assert not [sample for rule, sample in SAMPLES if blamed(failed(sample, stage, host(rule), expired=True))]


def test_what_suppresses_at_once_is_not_counted_too() -> None:
    outcome = failed(Reply(550, "5.1.1", "User unknown"), Stage.RECIPIENT)
    assert outcome.classification.action is Action.SUPPRESS
    assert list(soft_failures([outcome], MOST_IMPATIENT)) == []


def test_the_defaults_are_categories_of_the_recipients_fault() -> None:
    assert list(threshold_faults(SuppressionSettings(), BOOK)) == []
    thresholds = soft_bounce_thresholds(SuppressionSettings())
    assert thresholds.soft["mailbox_full"] == Threshold(5, timedelta(days=90), 3)
    assert (thresholds.soft_lasts, thresholds.hard_lasts) == (timedelta(days=180), None)


def test_every_mistake_is_told() -> None:
    named = ("greylisted", "mailbox_fill", "mailbox_full", "mailbox_full")
    settings = SuppressionSettings(soft_bounces=[SoftBounceThreshold(category=name) for name in named])
    (_, sites), (_, unknown), (place, twice) = threshold_faults(settings, BOOK)
    assert (place, twice) == (3, "category 'mailbox_full' has two thresholds; leave one")
    assert "'greylisted' is the fault of the site, and cannot suppress; allowed: bad_" in sites
    assert "there is no category 'mailbox_fill'; `mta classify --categories` lists them" in unknown
