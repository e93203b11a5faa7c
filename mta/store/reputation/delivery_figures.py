"""Figures for people: what was delivered, bounced and complained about, by hour, provider and account.

Invariants: only what breakers count too (``delivery_stats``), so that figures and breakers agree.
Limitations: by the hour of the database. Every question is bounded by a time since when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mta.mail.message import Stream
from mta.store.postgres.database import Database
from mta.store.reputation.delivery_stats import SUMS, counts_of
from policy.reputation.breaker import DeliveryCounts

MOST = 500  # groups

_BY_HOUR = f"""
select hour, {SUMS} from delivery_stats
where hour >= date_trunc('hour', $1::timestamptz) and mailing = '' and ($2::bigint is null or account_id = $2)
group by hour order by hour"""  # noqa: S608 - our own text

_BY_PROVIDER = f"""
select provider, {SUMS} from delivery_stats
where hour >= date_trunc('hour', $1::timestamptz) and mailing = '' and ($2::bigint is null or account_id = $2)
group by provider order by sum(delivered + hard + soft + refused) desc, provider limit $3"""  # noqa: S608

_BY_ACCOUNT = f"""
select account_id, stream::text as stream, {SUMS} from delivery_stats
where hour >= date_trunc('hour', $1::timestamptz) and mailing = '' and ($2::bigint is null or account_id = $2)
group by account_id, stream order by sum(complaints) desc, sum(delivered) desc limit $3"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class HourFigures:
    hour: datetime
    counts: DeliveryCounts


@dataclass(frozen=True, slots=True)
class ProviderFigures:
    """``provider`` "": not known."""

    provider: str
    counts: DeliveryCounts


@dataclass(frozen=True, slots=True)
class AccountFigures:
    account_id: int
    stream: Stream
    counts: DeliveryCounts


class DeliveryFigures:
    """Made by ``Store``. ``account_id`` None: of all accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_hour(self, since: datetime, account_id: int | None = None) -> Sequence[HourFigures]:
        """Return the hours in which something happened, the oldest first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_BY_HOUR, since, account_id)
        return [HourFigures(row["hour"], counts_of(row)) for row in rows]

    async def by_provider(self, since: datetime, account_id: int | None = None) -> Sequence[ProviderFigures]:
        """Return the providers that were tried most, first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_BY_PROVIDER, since, account_id, MOST)
        return [ProviderFigures(row["provider"], counts_of(row)) for row in rows]

    async def by_account(self, since: datetime, account_id: int | None = None) -> Sequence[AccountFigures]:
        """Return the streams of accounts, those with most complaints first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_BY_ACCOUNT, since, account_id, MOST)
        return [AccountFigures(row["account_id"], Stream(row["stream"]), counts_of(row)) for row in rows]
