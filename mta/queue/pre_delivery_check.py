"""The last look before each attempt: is the account in good standing, has no breaker tripped, is the recipient wanted?

What was asked when the message was accepted may be days old. What may not go now leaves the lane here: it waits for its
account or for the breaker, has failed for good, or goes on without the recipients that were suppressed.

It must never let an attempt begin when the answer could not be had: StoreUnavailable is raised, and the delivery waits.

*Limits.* A look-up of suppressions counts for a second, unless somebody was suppressed since. What an account's
standing is, and which breakers are open, comes from memory, which follows the database within a moment of a change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol, assert_never

from mta.mail.delivery import Delivery, QueuedRecipient
from mta.mail.reply import Reply
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.outcome_recorder import OutcomeRecorder
from mta.store.permission.suppressions import Suppressions
from policy.accounts.account import HELD, HOUSE, Account, AccountStatus, hold_reason
from policy.base import Facts, RecipientFacts, Suppression
from policy.chain import screen_delivery
from policy.profile import Profiles

CHECK_HOLDS = 1.0  # seconds for which a suppression check counts, if no suppression was added since

_SERVICE = Account(HOUSE, "", frozenset(), profile="")  # the service's own mail has no profile


class Accounts(Protocol):
    def by_id(self, account_id: int) -> Account | None: ...


class Breakers(Protocol):
    def holding(self, delivery: Delivery) -> str | None: ...


class PreDeliveryCheck:
    """``hold``: takes a delivery that is to wait until somebody releases it, and why. ``put_off``: takes one whose
    account is not known here, or not yet."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        breakers: Breakers,
        suppressions: Suppressions,
        profiles: Profiles,
        settler: OutcomeRecorder,
        hold: Callable[[Delivery, str], None],
        put_off: Callable[[Delivery], None],
        metrics: Metrics,
    ) -> None:
        self._accounts, self._breakers = accounts, breakers
        self._suppressions, self._settler = suppressions, settler
        self._hold, self._put_off, self._metrics = hold, put_off, metrics
        self._suppressions_changed = 0.0
        self.configure(profiles)

    def configure(self, profiles: Profiles) -> None:
        """Take over (re)loaded rules."""
        self._profiles = profiles

    def suppressions_changed(self) -> None:
        """Somebody was suppressed (or we may have missed it): every earlier look-up is void."""
        self._suppressions_changed = time.monotonic()

    async def given(self, delivery: Delivery) -> bool:
        """Whether the attempt may be made, to those recipients that are left. If not, the delivery was dealt with.
        Raises StoreUnavailable."""
        return self._is_allowed(delivery) and self._is_free(delivery) and await self._is_wanted(delivery)

    def _is_allowed(self, delivery: Delivery) -> bool:
        """By the standing of its account; our own letters go whatever happens to it."""
        if delivery.account_id == HOUSE:
            return True
        account = self._accounts.by_id(delivery.account_id)
        if account is None:
            self._put_off(delivery)
            return False
        match account.status:
            case AccountStatus.ACTIVE:
                return True
            case AccountStatus.SUSPENDED:
                self._hold(delivery, hold_reason(account.name, account.reason, account.case))
            case AccountStatus.PENDING | AccountStatus.REVIEW:
                self._hold(delivery, f"{HELD}account {account.name!r} is not active yet")
            case AccountStatus.TERMINATED:
                self._settler.end(*outcome.terminated(delivery, account, datetime.now(UTC)))
            case _:
                assert_never(account.status)
        return False

    def _is_free(self, delivery: Delivery) -> bool:
        """Of breakers."""
        reason = self._breakers.holding(delivery)
        if reason is not None:
            self._hold(delivery, reason)
        return reason is None

    async def _is_wanted(self, delivery: Delivery) -> bool:
        """Part with recipients who were suppressed while they waited. False if nobody is left."""
        now = time.monotonic()
        if delivery.checked_at > max(self._suppressions_changed, now - CHECK_HOLDS):
            return True
        refused = await self._refused(delivery)
        if refused:
            self._metrics.recipients_suppressed.inc(len(refused))
            kept = tuple(recipient for recipient in delivery.recipients if recipient not in refused)
            part = replace(delivery, recipients=tuple(refused), whole=False, reserved=0) if kept else delivery
            self._settler.end(*outcome.suppressed(part, refused, datetime.now(UTC)))
            if not kept:
                return False
            delivery.recipients, delivery.whole = kept, False
        delivery.checked_at = now
        return True

    async def _refused(self, delivery: Delivery) -> dict[QueuedRecipient, Reply]:
        """Return the recipients that the rules refuse by now, and why."""
        account = self._accounts.by_id(delivery.account_id) or _SERVICE
        found: dict[str, list[Suppression]] = {}
        for each in await self._suppressions.find(delivery.account_id, [r.address for r in delivery.recipients]):
            found.setdefault(each.address.key, []).append(each)
        chain, now = self._profiles.enforced(account.profile, delivery.stream), datetime.now(UTC)
        facts = Facts(account, stream=delivery.stream, topic=delivery.topic)
        refused = {}
        for recipient in delivery.recipients:
            known = RecipientFacts(recipient.address, tuple(found.get(recipient.address.key, ())))
            if reply := screen_delivery(chain, known, facts, now):
                refused[recipient] = reply
        return refused
