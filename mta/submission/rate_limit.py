"""How much a client may submit: the rate of its credential, and the quotas of its account.

Both are counted over all workers. A client that is too fast is slowed down at MAIL for a moment, then told to come
back. Recipients are reserved from the quotas before the rules run, and released if the message is not accepted.

Invariants: a message that was not accepted is not counted, and one that could not be counted is not accepted.

Limitations: clients that are known by their network have no credential, and no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

from config.schema import RateLimitsSettings
from mta.mail.reply import Reply
from mta.store.accounts.quotas import Quotas
from policy.accounts.account import Account, Grant
from policy.accounts.quotas import Quota, quotas_of


class QuotaReservation:
    """What a message has reserved of its account's quotas. ``left``: what they allowed before it, None without."""

    __slots__ = ("_limits", "_quotas", "_reserved", "left")

    def __init__(self, quotas: Quotas, limits: Sequence[Quota], left: int | None, reserved: int) -> None:
        self._quotas, self._limits, self.left, self._reserved = quotas, limits, left, reserved

    def use(self, recipients: int) -> None:
        """Keep so many of what was reserved: they are accepted."""
        self._reserved -= recipients

    def release(self) -> None:
        """Give back what was not used."""
        if self._limits and self._reserved > 0:
            self._quotas.give_back(self._limits, self._reserved)


class RateLimit:
    def __init__(self, quotas: Quotas, settings: RateLimitsSettings) -> None:
        self._quotas = quotas
        self._rate, self._burst = settings.credential_rate, settings.credential_burst

    async def on_sender(self, credential: str | None, grant: Grant) -> Reply | None:
        """Return the refusal at MAIL if the credential is too fast, None to go on."""
        if credential is None:
            return None
        rate, burst = grant.rate or self._rate, grant.burst or self._burst
        wait = await self._quotas.admit(credential, rate, burst)
        if not wait:
            return None
        text = f"rate: {credential} submits more than {rate:g} messages a second ({burst} at once)"
        seconds = ceil(wait)
        return Reply(450, "4.7.0", f"{text}; try again in {seconds} s", retry_after=seconds)

    async def reserve(self, account: Account, recipients: int) -> QuotaReservation:
        """Take ``recipients`` from the account's quotas if these allow it; the quota rule judges by what is left.

        Raises StoreUnavailable.
        """
        limits = quotas_of(account, datetime.now(UTC))
        left = await self._quotas.take(limits, recipients) if limits else None
        taken = recipients if left is not None and left >= recipients else 0
        return QuotaReservation(self._quotas, limits, left, taken)
