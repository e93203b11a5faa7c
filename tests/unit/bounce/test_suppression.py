"""Who is spared: recipients who share one answer."""

from __future__ import annotations

from datetime import UTC, datetime

from bounce.suppression import drop_shared_suppressions
from mta.mail.address import Address
from mta.mail.delivery import (
    Action,
    Classification,
    Deferred,
    Delivered,
    Failed,
    Fault,
    Outcome,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.reply import Reply

UNKNOWN = Classification("bad_mailbox", Fault.RECIPIENT, Action.SUPPRESS, "user-unknown", "user unknown")


def failed(n: int, stage: Stage) -> Failed:
    recipient = QueuedRecipient(n, Address.parse(f"r{n}@example.com"))
    return Failed(Result(recipient, stage, Reply(550, "5.1.1", "User unknown")), UNKNOWN)


def actions(*outcomes: Outcome) -> list[Action]:
    return [
        outcome.classification.action
        for outcome in drop_shared_suppressions(outcomes)
        if not isinstance(outcome, Delivered)
    ]


def test_one_answer_for_one_recipient_counts() -> None:
    assert actions(failed(0, Stage.FINAL_DOT)) == [Action.SUPPRESS]
    assert actions(failed(0, Stage.RECIPIENT), failed(1, Stage.RECIPIENT)) == [Action.SUPPRESS, Action.SUPPRESS]
    assert actions(failed(0, Stage.RECIPIENT), failed(1, Stage.FINAL_DOT)) == [Action.SUPPRESS, Action.SUPPRESS]


def test_one_answer_for_several_blames_nobody() -> None:
    shared = (failed(0, Stage.FINAL_DOT), failed(1, Stage.RECIPIENT), failed(2, Stage.FINAL_DOT))
    assert actions(*shared) == [Action.FAIL, Action.SUPPRESS, Action.FAIL]
    assert [outcome.result for outcome in drop_shared_suppressions(shared)] == [outcome.result for outcome in shared]


def test_other_outcomes_stay_as_they_are() -> None:
    result = Result(QueuedRecipient(0, Address.parse("a@example.com")), Stage.FINAL_DOT, Reply(451, "4.3.0", "later"))
    later = Classification("deferred", Fault.SITE, Action.RETRY, "reply-4xx")
    outcomes = (Deferred(result, later, datetime.now(UTC)), Failed(result, later, expired=True), Delivered(result))
    assert drop_shared_suppressions(outcomes) == outcomes
