"""Check before each attempt: the account is active, no breaker is open, no link was taken down, the recipients are not
suppressed.

What was checked when the message was accepted may be days old. What must not be sent now leaves the ready queue here:
it is held for its account or for the breaker, has failed for good, or goes on without the suppressed recipients.

Invariants: no attempt begins while the answer cannot be had: StoreUnavailable is raised, and the delivery waits.
Limitations: a look-up of suppressions counts for a second, unless an address was suppressed since. The state of
accounts and breakers comes from memory, which follows the database within a moment of a change.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol, assert_never

from mta.delivery.transaction import Content
from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.hold import Hold
from mta.mail.reply import Reply
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.active_queue import Job
from mta.queue.dsn import AccountLookup
from mta.queue.outcome_recorder import OutcomeRecorder
from mta.queue.requeue import NO_ROOM, Requeue
from mta.store.permission.suppressions import Suppressions
from mta.store.queue.content import StoredContent, whole
from policy.accounts.account import SERVICE_ACCOUNT, Account, AccountStatus, activation_hold, suspension_hold
from policy.base import Facts, RecipientFacts, Suppression
from policy.chain import screen_delivery
from policy.permission.marketing_signs import MailingMarks
from policy.profile import Profiles
from policy.reputation.takedown import TakedownList
from policy.text.link_targets import targets_of
from policy.text.message_text import MessageText

ADDED_LATE = timedelta(minutes=1)  # before a message was accepted, and perhaps not known then
CHECK_LASTS = 1.0  # seconds for which a suppression check counts, if no suppression was added since

_SERVICE = Account(SERVICE_ACCOUNT, "", frozenset(), profile="")  # the service's own mail has no profile


class BreakerLookup(Protocol):
    def holding(self, delivery: Delivery, provider: str) -> Hold | None: ...


class TakedownLookup(Protocol):
    @property
    def in_force(self) -> TakedownList: ...


class PreDeliveryCheck:
    """``recorder`` and ``requeue`` take what does not pass."""

    def __init__(
        self,
        *,
        accounts: AccountLookup,
        breakers: BreakerLookup,
        suppressions: Suppressions,
        takedowns: TakedownLookup,
        profiles: Profiles,
        recorder: OutcomeRecorder,
        requeue: Requeue,
        metrics: Metrics,
    ) -> None:
        self._accounts, self._breakers, self._suppressions = accounts, breakers, suppressions
        self._takedowns = takedowns
        self._recorder, self._requeue, self._metrics = recorder, requeue, metrics
        self._suppressions_changed = 0.0
        self._one_large = asyncio.Semaphore(1)  # all of it is in memory while its links are read
        self.configure(profiles)

    def configure(self, profiles: Profiles) -> None:
        """Take over (re)loaded rules."""
        self._profiles = profiles

    def suppressions_changed(self) -> None:
        """Void every earlier look-up: an address was suppressed, or may have been."""
        self._suppressions_changed = time.monotonic()

    async def passes(self, job: Job, content: Content) -> bool:
        """Return whether the attempt may be made, to the recipients that are left. If not, the job is disposed of.
        ``content``: the message.

        Raises StoreUnavailable.
        """
        if not self._account_allows(job):
            return False
        if hold := self._breakers.holding(job.delivery, job.provider):
            self._requeue.hold(job, hold)
            return False
        if links := await self._taken_down(job.delivery, content):
            self._recorder.record(job, outcome.taken_down(job, links, datetime.now(UTC)))
            return False
        if job.checked_at <= max(self._suppressions_changed, time.monotonic() - CHECK_LASTS):
            return await self._drop_suppressed(job)
        return True

    def _account_allows(self, job: Job) -> bool:
        """By the state of its account; the service's own messages always go."""
        account_id = job.delivery.account_id
        if account_id == SERVICE_ACCOUNT:
            return True
        account = self._accounts.by_id(account_id)
        if account is None:  # not known here yet
            self._requeue.add([job], NO_ROOM)
            return False
        match account.status:
            case AccountStatus.ACTIVE:
                return True
            case AccountStatus.SUSPENDED:
                self._requeue.hold(job, suspension_hold(account.name, account.reason, account.case))
            case AccountStatus.PENDING | AccountStatus.REVIEW:
                self._requeue.hold(job, activation_hold(account.name))
            case AccountStatus.TERMINATED:
                self._recorder.record(job, outcome.terminated(job, account, datetime.now(UTC)))
            case _:
                assert_never(account.status)
        return False

    async def _taken_down(self, delivery: Delivery, content: Content) -> list[str]:
        """Return the links of a message that were taken down since it was accepted, if its rules ask for links."""
        taken = self._takedowns.in_force.since(delivery.queued_at - ADDED_LATE)
        account = self._accounts.by_id(delivery.account_id) if taken else None
        if account is None or not self._profiles.enforced(account.profile, delivery.stream).needs_links:
            return []
        async with self._one_large if isinstance(content, StoredContent) else nullcontext():
            links = await asyncio.to_thread(targets_of, MessageText(await whole(content)))
        return list(dict.fromkeys(str(each.target) for target in links.targets if (each := taken.find(target))))

    async def _drop_suppressed(self, job: Job) -> bool:
        """Fail the recipients that were suppressed while they waited; return whether any is left."""
        began, delivery = time.monotonic(), job.delivery
        suppressed = await self._suppressed(delivery)
        if suppressed:
            self._metrics.recipients_suppressed.inc(len(suppressed))
            left = tuple(recipient for recipient in delivery.recipients if recipient not in suppressed)
            decision = outcome.suppressed(job, suppressed, datetime.now(UTC))
            if not left:
                self._recorder.record(job, decision)
                return False
            self._recorder.record(Job(decision.attempt.delivery, reservation=None), decision)
            job.delivery = replace(delivery, recipients=left, whole=False)
        job.checked_at = began
        return True

    async def _suppressed(self, delivery: Delivery) -> dict[QueuedRecipient, Reply]:
        """Return the recipients that the rules reject by now, and why."""
        account = self._accounts.by_id(delivery.account_id) or _SERVICE
        found: dict[str, list[Suppression]] = {}
        for each in await self._suppressions.find(delivery.account_id, [r.address for r in delivery.recipients]):
            found.setdefault(each.address.key, []).append(each)
        chain, now = self._profiles.enforced(account.profile, delivery.stream), datetime.now(UTC)
        facts = Facts(account, stream=delivery.stream, topic=delivery.topic, marks=MailingMarks.kept(delivery.mark))
        suppressed = {}
        for recipient in delivery.recipients:
            known = RecipientFacts(recipient.address, tuple(found.get(recipient.address.key, ())))
            if reply := screen_delivery(chain, known, facts, now):
                suppressed[recipient] = reply
        return suppressed
