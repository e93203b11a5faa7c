"""What an attempt means, without a store and without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bounce.classify import Classifier
from bounce.rules import load_rules
from mta.mail.address import Address
from mta.mail.delivery import Attempt, Deferred, Delivered, Delivery, Failed, Fault, QueuedRecipient, Result, Stage
from mta.mail.identity import format_id, new_message_id
from mta.mail.reply import Reply
from mta.queue import outcome
from mta.queue.active_queue import Job
from mta.queue.schedule import Schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEDULE = Schedule((60, 600, 6000), 0.0)
ANN, BEN = (QueuedRecipient(n, Address(name, "example.net")) for n, name in enumerate(("ann", "ben")))
OK = Reply(250, "2.0.0", "queued")
LATER = Reply(451, "4.7.1", "greylisted, come back later")
NO_USER = Reply(550, "5.1.1", "no such user")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_rules([]))


def job(*recipients: QueuedRecipient, hours: float = 24, **more: object) -> Job:
    delivery = Delivery(
        new_message_id(), "example.net", None, recipients or (ANN, BEN), 1, NOW, NOW + timedelta(hours=hours), 10
    )
    return Job(replace(delivery, **more), None, provider="example")  # type: ignore[arg-type]


def attempt(of: Job, *results: Result) -> Attempt:
    return Attempt(of.delivery, results, NOW, 0.1)


def seconds(outcomes: Sequence[object]) -> list[float]:
    return [(each.until - NOW).total_seconds() for each in outcomes if isinstance(each, Deferred)]


def test_each_recipient_gets_the_outcome_of_its_own_reply(classifier: Classifier) -> None:
    results = Result(ANN, Stage.RECIPIENT, NO_USER), Result(BEN, Stage.FINAL_DOT, OK)
    decision = outcome.decide(attempt(job(), *results), classifier, SCHEDULE, NOW)
    failed, delivered = decision.outcomes
    assert isinstance(failed, Failed)
    assert isinstance(delivered, Delivered)
    assert failed.suppresses
    assert not failed.expired


@pytest.mark.parametrize(
    ("text", "suppresses"),
    [
        ("Rejected because <news@shop.example> is not deliverable: user unknown", False),
        ("<ann@shop.example>: user unknown", False),  # their name in our domain
        ("user unknown: bounce+1{id}0001abc@returns.example", False),
        ("<news@shop.example.net>: user unknown", True),  # another domain
        ("<ann@example.net>: user unknown (from news@shop.example)", True),
        ("user unknown: ann@mail.internal, from news@shop.example", True),
        ("no such user: ann, from news@shop.example", True),
        ("user unknown", True),
    ],
)
def test_nobody_is_suppressed_because_the_sender_is_unknown(
    classifier: Classifier, text: str, suppresses: bool
) -> None:
    one = job(ANN, sender=Address("news", "shop.example"))
    reply = Reply(550, "5.1.1", text.format(id=format_id(one.delivery.message_id)))
    decision = outcome.decide(attempt(one, Result(ANN, Stage.RECIPIENT, reply)), classifier, SCHEDULE, NOW)
    (failed,) = decision.outcomes
    assert isinstance(failed, Failed)
    assert failed.suppresses is suppresses
    assert (failed.classification.fault is Fault.RECIPIENT) is suppresses


def test_waits_grow_and_a_message_that_may_be_delivered_waits_longer(classifier: Classifier) -> None:
    again = replace(BEN, attempts=1)
    results = Result(ANN, Stage.RECIPIENT, LATER), Result(again, Stage.RECIPIENT, LATER)
    assert seconds(outcome.decide(attempt(job(), *results), classifier, SCHEDULE, NOW).outcomes) == [60, 600]
    lost = Result(ANN, Stage.FINAL_DOT, LATER, delivery_unknown=True)
    assert seconds(outcome.decide(attempt(job(ANN), lost), classifier, SCHEDULE, NOW).outcomes) == [6000]


@pytest.mark.parametrize(("hours", "expired"), [(1, False), (0, True)])
def test_the_first_attempt_may_be_the_last(classifier: Classifier, hours: float, expired: bool) -> None:
    result = Result(ANN, Stage.RECIPIENT, LATER)
    (only,) = outcome.decide(attempt(job(hours=hours), result), classifier, SCHEDULE, NOW).outcomes
    assert isinstance(only, Failed) is expired


def test_without_rules_what_was_delivered_stays_delivered() -> None:
    results = Result(ANN, Stage.RECIPIENT, NO_USER), Result(BEN, Stage.FINAL_DOT, OK)
    deferred, delivered = outcome.decide_unclassified(attempt(job(), *results), SCHEDULE, NOW).outcomes
    assert isinstance(deferred, Deferred)
    assert isinstance(delivered, Delivered)


@pytest.mark.parametrize(
    ("subject", "rule", "text"),
    [
        (job(bounce="enough"), "operator", "removed from the queue by the operator: enough"),
        (job(held=True, hours=0), "expired", "delivery time expired"),
        (job(held=True), None, ""),  # claimed by a clock that ours does not confirm
        (job(replace(ANN, attempts=2, last_reply="451 4.7.1 greylisted"), hours=0), "expired", "last reply: 451 4.7.1"),
        (job(), None, ""),
        (job(hours=0), None, ""),  # a clock that jumps alone expires nothing
    ],
)
def test_the_end_without_an_attempt(subject: Job, rule: str | None, text: str) -> None:
    decision = outcome.unattempted(subject, SCHEDULE, NOW)
    assert (decision is None) is (rule is None)
    for each in decision.outcomes if decision else ():
        assert isinstance(each, Failed)
        assert each.classification.rule == rule
        assert text in each.result.reply.text
        assert each.expired is (rule == "expired")


def test_a_part_of_a_delivery_that_is_suppressed_is_a_delivery_of_its_own() -> None:
    whole = job(whole=True)
    part = outcome.suppressed(whole, {ANN: NO_USER}, NOW).attempt
    assert (part.delivery.recipients, part.delivery.whole, part.provider) == ((ANN,), False, "example")
    everything = outcome.suppressed(whole, {ANN: NO_USER, BEN: NO_USER}, NOW).attempt
    assert everything.delivery is whole.delivery


@pytest.mark.parametrize(
    ("stage", "text", "fails"),
    [
        (Stage.CONNECT, "451 4.4.1 connection refused", True),
        (Stage.HELLO, "554 5.7.1 you are not welcome", True),
        (Stage.FINAL_DOT, "421 4.7.28 Unusual rate of mail from your network address", True),
        (Stage.SENDER, "450 4.7.1 Error: too much mail from 192.0.2.1", True),
        (Stage.RECIPIENT, "452 4.3.2 Connection rate limit exceeded.", True),
        (
            Stage.SENDER,
            "451 4.7.650 [192.0.2.25] has been temporarily rate limited due to IP reputation",
            True,
        ),
        (Stage.SENDER, "421 4.7.0 [TSS04] Messages from 192.0.2.192 temporarily deferred due to user complaints", True),
        (Stage.RECIPIENT, "421 4.3.2 too busy, closing", True),
        (Stage.SENDER, "452 4.3.1 Insufficient system storage", True),
        (Stage.SENDER, "451 4.3.2 Server busy, please try again later", True),
        (Stage.SENDER, "451 4.7.500 Server busy. Please try again later from [192.0.2.1].", True),
        (Stage.SENDER, "450 4.7.0 Sender rate exceeded", True),
        (Stage.FINAL_DOT, "451 4.3.0 try again later", False),
        (Stage.RECIPIENT, "452 4.2.2 mailbox full", False),
        (Stage.RECIPIENT, "450 4.2.1 The user you are trying to contact is receiving mail too quickly", False),
        (Stage.RECIPIENT, "451 4.7.1 greylisted, come back later", False),
        (Stage.RECIPIENT, "550 5.1.1 no such user", False),
        (Stage.FINAL_DOT, "550-5.7.1 likely suspicious due to the very low reputation of the sending IP", False),
        (Stage.FINAL_DOT, "421-4.7.26 Your email has been rate limited because it is unauthenticated.", False),
        (Stage.TLS_POLICY, "451 4.7.5 MTA-STS policy of example.com: TLS with mx1.example.com failed", False),
        (Stage.FINAL_DOT, "250 2.0.0 taken", False),
    ],
)
def test_what_concerns_the_site_and_not_the_message(
    classifier: Classifier, stage: Stage, text: str, fails: bool
) -> None:
    code, _, rest = text.partition(" ") if text[3] == " " else (text[:3], "", text[4:])
    reply = Reply.parse(int(code), rest)
    decision = outcome.decide(attempt(job(ANN), Result(ANN, stage, reply)), classifier, SCHEDULE, NOW)
    assert outcome.site_failure(decision) == (reply if fails else None)


@pytest.mark.parametrize("held", [False, True])
def test_without_a_clock_to_trust_nothing_expires(held: bool) -> None:
    old = job(replace(ANN, attempts=9), hours=-1000, held=held)
    assert outcome.unattempted(old, SCHEDULE, NOW)
    assert outcome.unattempted(old, replace(SCHEDULE, expiry=False), NOW) is None


def test_what_may_not_expire_waits_like_any_other(classifier: Classifier) -> None:
    result = Result(replace(ANN, attempts=1), Stage.RECIPIENT, LATER)
    schedule = replace(SCHEDULE, expiry=False)
    assert seconds(outcome.decide(attempt(job(hours=-1000), result), classifier, schedule, NOW).outcomes) == [600]
