"""Look up everything known about recipients at once: suppressions, consents and recent activity.

Sessions look up every recipient here. Concurrent lookups share one query, which finds rows by the keyed hash of the
address, so its cost does not depend on the size of the tables.

Invariants: StoreUnavailable is raised if the database cannot be queried; an empty answer always means that nothing is
stored.

Limitations: with a different secret file nothing is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from mta.mail.address import Address
from mta.observe.labels import StoreCall
from mta.observe.metrics import Metrics
from mta.store.permission.address_lookup import AddressLookup
from mta.store.postgres.database import Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue.cancel_queued import GLOBAL
from policy.base import RecipientFacts, Suppression
from policy.permission.consent import Basis, Consent
from policy.permission.suppression import Reason

# One statement probes three indexes. Columns that a table does not have are null.
_FIND = """
select 's' as kind, address_key, account_id, topic, reason, rule, created_at as at, expires_at as confirmed_at,
    null::timestamptz as revoked_at, null::text[] as missing, null::jsonb as facts, null::bigint as entry,
    null::timestamptz[] as accepted, detail
from suppression where address_key = any($1::bytea[]) and (expires_at is null or expires_at > now())
union all
select 'c', address_key, account_id, topic, basis, null, given_at, confirmed_at, revoked_at, missing, facts, entry,
    null, null
from consent where address_key = any($1::bytea[])
union all
select 'd', address_key, account_id, null, null, null, contacted_at, clicked_at, bought_at, null, null, null, accepted,
    null
from recipient_activity where address_key = any($1::bytea[])"""


class Recipients:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets, metrics: Metrics | None) -> None:
        self._look = AddressLookup(
            _FIND, _facts, call=StoreCall.RECIPIENTS, database=database, secrets=secrets, metrics=metrics
        )

    async def find(self, account_id: int, addresses: Sequence[Address]) -> list[RecipientFacts]:
        """Return the facts about each address for this account, in the order given. Raises StoreUnavailable; then no
        recipient may be mailed."""
        return await self._look.find(account_id, addresses)


def _facts(address: Address, key: bytes, account_id: int, rows: Sequence[Any]) -> RecipientFacts:
    """Return the facts about one address, from the rows that concern this account."""
    if not rows:
        return RecipientFacts(address, key=key)
    suppressions = [row for row in rows if row["kind"] == "s" and row["account_id"] in (GLOBAL, account_id)]
    consents = [row for row in rows if row["kind"] == "c" and row["account_id"] == account_id]
    contacts = {row["account_id"]: row for row in rows if row["kind"] == "d"}
    own = contacts.get(account_id)
    everywhere = sorted(moment for row in contacts.values() for moment in row["accepted"])
    return RecipientFacts(
        address,
        suppressions=tuple(_suppression(address, row) for row in sorted(suppressions, key=_global_first)),
        consents=tuple(_consent(row, own) for row in consents),
        accepted=tuple(own["accepted"]) if own else (),
        everywhere=tuple(everywhere),
        key=key,
    )


def _global_first(row: Any) -> tuple[int, str]:
    return row["account_id"], row["topic"]


def _suppression(address: Address, row: Any) -> Suppression:
    until = row["confirmed_at"]  # rows of suppressions use this column for it
    account_id, reason = row["account_id"] or None, Reason(row["reason"])
    return Suppression(address, account_id, reason, row["rule"], row["at"], row["topic"], row["detail"], until)


def _consent(row: Any, contact: Any) -> Consent:
    return Consent(
        basis=Basis(row["reason"]),
        topics=frozenset({row["topic"]}),
        given_at=row["at"],
        confirmed_at=row["confirmed_at"],
        entry=row["entry"],
        missing=tuple(row["missing"]),
        contacted_at=contact["at"] if contact else None,
        revoked_at=row["revoked_at"],
        facts=orjson.loads(row["facts"]),
        clicked_at=contact["confirmed_at"] if contact else None,  # rows of activity use these columns for them
        bought_at=contact["revoked_at"] if contact else None,
    )
