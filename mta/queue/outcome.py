"""Decide what an attempt means, recipient by recipient: delivered, deferred or failed.

``Failed.suppresses`` says whether the address is to be suppressed; whether the sender gets a DSN about an outcome,
``mta.queue.dsn_message.wanted`` decides.

Invariants: nothing is done here; outcomes and all that follows from them go to the store in one transaction.
Limitations: an attempt whose connection was lost after the final dot is tried again later than others: the receiver may
have taken the message, which cannot be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from bounce.classify import Classifier, blamed_on_sender, is_about_sender
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
from mta.mail.values import dataclass
from mta.queue.active_queue import Job
from mta.queue.schedule import Schedule, is_too_late, notice_due_at
from policy.accounts.account import Account
from policy.reputation.breaker import is_limit

EXPIRED_REPLY = Reply(451, "4.4.7", "delivery time expired")
EXPIRED = Classification("expired", Fault.SITE, Action.FAIL, "expired")
OPERATOR = Classification("operator", Fault.SENDER, Action.FAIL, "operator")
UNCLASSIFIED = Classification("unknown", Fault.SITE, Action.RETRY, "internal-error")
TERMINATED = Classification("terminated", Fault.SENDER, Action.FAIL, "account-terminated")
TAKEN_DOWN = Classification("takedown", Fault.SENDER, Action.FAIL, "takedown")
SUPPRESSED = Classification("suppressed", Fault.RECIPIENT, Action.FAIL, "suppressed")
_NO_MAIL_NOW = frozenset({"4.3.1", "4.3.2"})  # the system is full, or takes no mail (RFC 3463 3.4)
UNKNOWN_STEPS = 2  # steps of the retry schedule skipped when the end was lost after the final dot


@dataclass(frozen=True, slots=True)
class Decision:
    """What an attempt means: one outcome for each of its results."""

    attempt: Attempt
    outcomes: tuple[Outcome, ...]


def decide(attempt: Attempt, classifier: Classifier, schedule: Schedule, now: datetime) -> Decision:
    """Classify the replies of ``attempt``, and schedule what is to be tried again."""
    host = attempt.host.name if attempt.host else None
    expires_at = schedule.expires_at(attempt.delivery)

    def outcome(result: Result) -> Outcome:
        if result.reply.kind is ReplyKind.POSITIVE:
            return Delivered(result)
        meaning = classifier.classify(result.reply, result.stage, host)
        if meaning.fault is Fault.RECIPIENT and result.stage is Stage.RECIPIENT:
            told, to = result.reply.text, result.recipient.address
            if is_about_sender(told, attempt.delivery.sender, attempt.delivery.message_id, to):
                meaning = blamed_on_sender(meaning)
        if meaning.action in (Action.FAIL, Action.SUPPRESS):
            return Failed(result, meaning)
        attempts = result.recipient.attempts + 1
        if schedule.is_over(now, expires_at):
            return Failed(result, meaning, expired=True)
        steps = attempts + (UNKNOWN_STEPS if result.delivery_unknown else 0)
        until, reason = schedule.next_attempt(steps, now, expires_at, notice_due_at(attempt.delivery))
        return Deferred(result, meaning, until, reason)

    return Decision(attempt, tuple(map(outcome, attempt.results)))


def decide_unclassified(attempt: Attempt, schedule: Schedule, now: datetime) -> Decision:
    """Decide without rules, when they fail: what was delivered is delivered, the rest is tried again."""
    expires_at = schedule.expires_at(attempt.delivery)

    def outcome(result: Result) -> Outcome:
        if result.reply.kind is ReplyKind.POSITIVE:
            return Delivered(result)
        until, reason = schedule.next_attempt(result.recipient.attempts + 1, now, expires_at)
        return Deferred(result, UNCLASSIFIED, until, reason)

    return Decision(attempt, tuple(map(outcome, attempt.results)))


def failed_attempt(job: Job, reply: Reply, now: datetime) -> Attempt:
    """Return an attempt that ended with ``reply`` before a receiver was contacted."""
    results = tuple(Result(recipient, Stage.RESOLVE, reply) for recipient in job.delivery.recipients)
    return Attempt(job.delivery, results, now, 0.0, provider=job.provider)


# --- the end without an attempt


def unattempted(job: Job, schedule: Schedule, now: datetime, *, closed: bool = False) -> Decision | None:
    """Return the end of a delivery that gets no attempt: bounced by an operator, or expired. None: it gets one, unless
    it is held. ``closed``: its send window is, so that no first attempt is to be made when its time is over."""
    delivery = job.delivery
    if delivery.bounce is not None:
        reply = Reply(554, "5.3.0", sanitise(f"removed from the queue by the operator: {delivery.bounce}"))
        return _failed(job, delivery, dict.fromkeys(delivery.recipients, reply), OPERATOR, now)
    if not schedule.is_over(now, schedule.expires_at(delivery)):
        return None
    if not (delivery.attempts or closed or delivery.held or is_too_late(delivery, now)):
        return None  # what was never tried is, or a clock that jumps would bounce the queue
    replies = {recipient: _expired(recipient) for recipient in delivery.recipients}
    return _failed(job, delivery, replies, EXPIRED, now, expired=True)


def terminated(job: Job, account: Account, now: datetime) -> Decision:
    """Fail a delivery whose account was terminated while it waited."""
    because = f" ({account.reason})" if account.reason else ""
    reply = Reply(554, "5.7.1", sanitise(f"account_state: account {account.name!r} was terminated{because}"))
    return _failed(job, job.delivery, dict.fromkeys(job.delivery.recipients, reply), TERMINATED, now)


def taken_down(job: Job, links: Sequence[str], now: datetime) -> Decision:
    """Fail a delivery whose message links to what was taken down while it waited."""
    reply = Reply(554, "5.7.1", sanitise(f"links: {', '.join(links)} was taken down while the message was queued"))
    return _failed(job, job.delivery, dict.fromkeys(job.delivery.recipients, reply), TAKEN_DOWN, now)


def suppressed(job: Job, replies: Mapping[QueuedRecipient, Reply], now: datetime) -> Decision:
    """Fail the recipients of a delivery that were suppressed while they waited; ``replies``: each one's reason."""
    delivery = job.delivery
    if len(replies) < len(delivery.recipients):
        delivery = replace(delivery, recipients=tuple(replies), whole=False)
    return _failed(job, delivery, replies, SUPPRESSED, now)


def _failed(
    job: Job,
    delivery: Delivery,
    replies: Mapping[QueuedRecipient, Reply],
    meaning: Classification,
    now: datetime,
    *,
    expired: bool = False,
) -> Decision:
    results = tuple(Result(recipient, Stage.RESOLVE, reply) for recipient, reply in replies.items())
    attempt = Attempt(delivery, results, now, 0.0, provider=job.provider)
    return Decision(attempt, tuple(Failed(result, meaning, expired) for result in results))


def _expired(recipient: QueuedRecipient) -> Reply:
    if recipient.last_reply is None:
        return EXPIRED_REPLY
    return replace(EXPIRED_REPLY, text=sanitise(f"{EXPIRED_REPLY.text}; last reply: {recipient.last_reply}"))


# --- the site


def site_failure(decision: Decision) -> Reply | None:
    """Return the reply which says that the site cannot be reached, closes, or gets too much: more would be refused just
    so (RFC 5321 4.5.4.1). None: it kept up the dialogue, whatever it said about the message."""
    for each in decision.outcomes:
        if not isinstance(each, Delivered) and _concerns_site(each):
            return each.result.reply
    return None


def _concerns_site(outcome: Deferred | Failed) -> bool:
    result, meaning = outcome.result, outcome.classification
    reply = result.reply
    if result.stage.is_connection:
        return result.stage.is_of_site
    if meaning.fault in (Fault.SITE, Fault.NETWORK) and (reply.code == 421 or reply.status in _NO_MAIL_NOW):
        return True
    of_mailbox = meaning.fault is not Fault.SENDER and reply.status[1:].startswith(".2.")
    return is_limit(meaning, reply) and not of_mailbox
