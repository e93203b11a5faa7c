"""What an attempt comes to, recipient by recipient.

It must never do anything about it: outcomes go to the store in one transaction, with what follows from them.

*Limits.* An attempt whose end was lost after the final dot is retried later than others, because the receiver may
have taken the message; it cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from bounce.classify import Classifier
from bounce.suppression import drop_shared_suppressions
from mta.mail.delivery import (
    Action,
    Attempt,
    Classification,
    Deferred,
    Delivered,
    Delivery,
    Failed,
    Fault,
    Outcome,
    QueuedRecipient,
    Result,
    Stage,
)
from mta.mail.reply import Reply, ReplyKind, sanitise
from mta.queue.schedule import Schedule
from policy.accounts.account import Account

EXPIRED = Reply(451, "4.4.7", "the time for delivering this message is over")
EXPIRY = Classification("expired", Fault.SITE, Action.FAIL, "expired")
OPERATOR = Classification("operator", Fault.SENDER, Action.FAIL, "operator")
UNCLASSIFIED = Classification("unknown", Fault.SITE, Action.RETRY, "internal-error")
TERMINATED = Classification("terminated", Fault.SENDER, Action.FAIL, "account-terminated")
SUPPRESSED = Classification("suppressed", Fault.RECIPIENT, Action.FAIL, "suppressed")
UNKNOWN_STEPS = 2  # steps of the retry schedule skipped when the end was lost after the final dot


def conclude(attempt: Attempt, classifier: Classifier, schedule: Schedule, now: datetime) -> tuple[Outcome, ...]:
    """One outcome for each result of ``attempt``."""
    host = attempt.host.name if attempt.host else None
    return drop_shared_suppressions(
        _outcome(result, attempt.delivery, host, classifier, schedule, now) for result in attempt.results
    )


def _outcome(
    result: Result, delivery: Delivery, host: str | None, classifier: Classifier, schedule: Schedule, now: datetime
) -> Outcome:
    if result.reply.kind is ReplyKind.POSITIVE:
        return Delivered(result)
    meaning = classifier.classify(result.reply, result.stage, host)
    if meaning.action in (Action.FAIL, Action.SUPPRESS):
        return Failed(result, meaning)
    attempts = result.recipient.attempts + 1
    if schedule.is_over(attempts, now, delivery.expires_at):
        return Failed(result, meaning, expired=True)
    steps = attempts + (UNKNOWN_STEPS if result.delivery_unknown else 0)
    return Deferred(result, meaning, schedule.next_attempt(steps, now, delivery.expires_at))


def unclassified(attempt: Attempt, schedule: Schedule, now: datetime) -> tuple[Outcome, ...]:
    """One outcome for each result when the rules cannot be asked: what was delivered is, the rest is tried again."""
    delivery = attempt.delivery

    def outcome(result: Result) -> Outcome:
        if result.reply.kind is ReplyKind.POSITIVE:
            return Delivered(result)
        until = schedule.next_attempt(result.recipient.attempts + 1, now, delivery.expires_at)
        return Deferred(result, UNCLASSIFIED, until)

    return tuple(outcome(result) for result in attempt.results)


def without_attempt(delivery: Delivery, stage: Stage, reply: Reply, now: datetime) -> Attempt:
    """The attempt that ended before any receiver was spoken to."""
    results = tuple(Result(recipient, stage, reply) for recipient in delivery.recipients)
    return Attempt(delivery, results, now, 0.0)


Concluded = tuple[Attempt, tuple[Outcome, ...]]


def expired(delivery: Delivery, now: datetime) -> Concluded:
    """No attempt is made any more; the sender learns what the last one was told."""
    replies = {recipient: _expired(recipient) for recipient in delivery.recipients}
    return _failed(delivery, replies, EXPIRY, now, expired=True)


def bounced(delivery: Delivery, reason: str, now: datetime) -> Concluded:
    """An operator ended it."""
    reply = Reply(554, "5.3.0", sanitise(f"removed from the queue by the operator: {reason}"))
    return _failed(delivery, dict.fromkeys(delivery.recipients, reply), OPERATOR, now)


def terminated(delivery: Delivery, account: Account, now: datetime) -> Concluded:
    """Its account was terminated while it waited."""
    because = f" ({account.reason})" if account.reason else ""
    reply = Reply(554, "5.7.1", sanitise(f"account_state: account {account.name!r} was terminated{because}"))
    return _failed(delivery, dict.fromkeys(delivery.recipients, reply), TERMINATED, now)


def suppressed(delivery: Delivery, refusals: Mapping[QueuedRecipient, Reply], now: datetime) -> Concluded:
    """These recipients were suppressed while they waited."""
    return _failed(delivery, refusals, SUPPRESSED, now)


def _failed(
    delivery: Delivery,
    replies: Mapping[QueuedRecipient, Reply],
    meaning: Classification,
    now: datetime,
    *,
    expired: bool = False,
) -> Concluded:
    results = tuple(Result(recipient, Stage.RESOLVE, reply) for recipient, reply in replies.items())
    return Attempt(delivery, results, now, 0.0), tuple(Failed(result, meaning, expired) for result in results)


def _expired(recipient: QueuedRecipient) -> Reply:
    if recipient.last_reply is None:
        return EXPIRED
    return replace(EXPIRED, text=sanitise(f"{EXPIRED.text}; the last answer was: {recipient.last_reply}"))


def connection_failed(results: Iterable[Result]) -> bool:
    """Whether the attempt says something bad about the site: it broke before the message came into play."""
    return any(result.stage.is_connection and result.reply.kind is not ReplyKind.POSITIVE for result in results)
