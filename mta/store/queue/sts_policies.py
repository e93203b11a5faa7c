"""MTA-STS policies of recipient domains, shared by all workers, and what their last fetch came to (RFC 8461).

Invariants: a policy that is valid is only replaced by a newer one, whatever becomes of later fetches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.mail.tls_session import TlsFault, TlsResult
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import Database

TOGETHER = 500  # domains that are looked up in one question
APART = 0.05  # seconds between two questions

_FIND = """
with used as (
    update mta_sts_policy set used_at = now() where domain = any($1::text[]) and used_at < now() - interval '1 day'
)
select domain, record_id, policy, fetched_at, expires_at, expires_at > now() as valid, fault_result, fault,
    extract(epoch from now() - tried_at)::float8 as tried_ago
from mta_sts_policy where domain = any($1::text[])"""

_KEEP = """
insert into mta_sts_policy (domain, record_id, policy, fetched_at, expires_at)
values ($1, $2, $3, now(), now() + make_interval(secs => $4))
on conflict (domain) do update set
    record_id = excluded.record_id, policy = excluded.policy, fetched_at = now(), expires_at = excluded.expires_at,
    tried_at = now(), fault_result = null, fault = null"""

_FAILED = """
insert into mta_sts_policy (domain, record_id, fault_result, fault) values ($1, $2, $3, $4)
on conflict (domain) do update set
    tried_at = now(), fault_result = excluded.fault_result, fault = excluded.fault,
    record_id = case when mta_sts_policy.expires_at > now() then mta_sts_policy.record_id else excluded.record_id end"""

# Whoever claims a domain has tried it, whatever comes of that.
_CLAIM = """
update mta_sts_policy set tried_at = now() where domain in (
    select domain from mta_sts_policy
    where expires_at > now() and used_at > now() - interval '30 days' and tried_at < now() - interval '1 day'
    order by tried_at limit $1 for update skip locked
)
returning domain"""

_SWEEP = """
delete from mta_sts_policy
where coalesce(expires_at, tried_at) < now() - interval '1 day' and tried_at < now() - interval '1 day'"""


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """``record_id``: that of the TXT record at the fetch. ``policy``: as fetched, None if there is no valid one.
    ``fault``: why the last fetch failed. ``tried``: it was not long ago."""

    record_id: str
    policy: bytes | None
    fetched_at: datetime | None
    expires_at: datetime | None
    fault: TlsFault | None
    tried: bool


class StsPolicyStore:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._questions: Batch[str, Any] = Batch(self._find, items=TOGETHER, apart=APART)

    async def find(self, domain: str, *, pause: float) -> StoredPolicy | None:
        """Return what is known of a domain. ``pause``: seconds for which a fetch counts as not long ago.

        Raises StoreUnavailable.
        """
        row = await self._questions.do(domain)
        if row is None:
            return None
        fault = None if row["fault"] is None else TlsFault(TlsResult(row["fault_result"]), row["fault"])
        policy, tried = row["policy"] if row["valid"] else None, row["tried_ago"] < pause
        return StoredPolicy(row["record_id"], policy, row["fetched_at"], row["expires_at"], fault, tried)

    async def _find(self, domains: list[str], since: float) -> Sequence[Any]:
        left = self._database.timeout - (asyncio.get_running_loop().time() - since)
        async with self._database.session(left) as connection:
            rows = {row["domain"]: row for row in await connection.fetch(_FIND, domains)}
        return [rows.get(domain) for domain in domains]

    async def keep(self, domain: str, record_id: str, policy: bytes, max_age: int) -> None:
        """Keep a policy just fetched, for ``max_age`` seconds. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_KEEP, domain, record_id, policy, float(max_age))

    async def failed(self, domain: str, record_id: str, fault: TlsFault) -> None:
        """Note that a policy could not be fetched; one that is still valid stays. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FAILED, domain, record_id, fault.result.value, fault.text)

    async def claim_refresh(self, limit: int) -> Sequence[str]:
        """Return domains in use whose policy was not fetched for a day, for this process alone.

        Raises StoreUnavailable.
        """
        async with self._database.session() as connection:
            return [row["domain"] for row in await connection.fetch(_CLAIM, limit)]

    async def sweep(self) -> None:
        """Delete what has expired. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_SWEEP)
