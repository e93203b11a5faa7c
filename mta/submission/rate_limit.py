"""How much a client may submit: the rate of its credential, and the quotas of its account.

Both are counted over all workers. A client that is too fast is slowed down at MAIL for a moment, then turned away for
as long as it takes. Recipients are taken from the quotas before the rules run, and given back if nothing comes of it.

It must never count a message that was not accepted, nor accept one that could not be counted.

*Limits.* Clients that are known by their network have no credential, and no rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil

from config.schema import RateLimitsSettings
from mta.mail.reply import Reply
from mta.smtp_server.client import Client
from mta.store.accounts.quotas import Quotas
from policy.accounts.account import Account
from policy.accounts.quotas import Quota, quotas_of


class QuotaReservation:
    """What a message has taken from the quotas. ``left``: what they allowed before it, None without quotas."""

    __slots__ = ("_allowances", "_quotas", "_unused", "left")

    def __init__(self, allowances: Quotas, quotas: Sequence[Quota], left: int | None, taken: int) -> None:
        self._allowances, self._quotas, self.left, self._unused = allowances, quotas, left, taken

    def use(self, recipients: int) -> None:
        """So many are accepted."""
        self._unused -= recipients

    def close(self) -> None:
        """Give back what was not used."""
        if self._quotas and self._unused > 0:
            self._allowances.give_back(self._quotas, self._unused)


class RateLimit:
    def __init__(self, allowances: Quotas, settings: RateLimitsSettings) -> None:
        self._allowances = allowances
        self._rate, self._burst = settings.credential_rate, settings.credential_burst

    async def pace(self, client: Client) -> Reply | None:
        """The answer to MAIL if the credential is too fast, None to go on."""
        if client.credential is None:
            return None
        rate, burst = client.grant.rate or self._rate, client.grant.burst or self._burst
        wait = await self._allowances.admit(client.credential, rate, burst)
        if not wait:
            return None
        text = f"rate: {client.credential} submits more than {rate:g} messages a second ({burst} at once)"
        return Reply(450, "4.7.0", f"{text}; try again in {ceil(wait)} s")

    async def fare(self, account: Account, recipients: int) -> QuotaReservation:
        """Take from the account's quotas, if they allow it; the quota rule judges by what is left.

        Raises StoreUnavailable.
        """
        quotas = quotas_of(account, datetime.now(UTC))
        left = await self._allowances.take(quotas, recipients) if quotas else None
        return QuotaReservation(
            self._allowances, quotas, left, recipients if left is not None and left >= recipients else 0
        )
