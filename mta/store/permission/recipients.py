"""Look up everything known about recipients at once: suppressions, consents and recent activity.

Sessions look up every recipient here. Concurrent lookups share one query, which finds rows by the keyed hash of the
address, so its cost does not depend on the size of the tables. Each lookup has its own statement and its own function
that turns rows into answers.

Invariants: StoreUnavailable is raised if the database cannot be queried; an empty answer always means that nothing is
stored.

Limitations: with a different secret file nothing is found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import orjson

from mta.mail.address import Address
from mta.observe.labels import StoreCall
from mta.observe.metrics import Metrics
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import Database
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue.removal import GLOBAL
from policy.base import RecipientFacts, Suppression
from policy.permission.consent import Basis, Consent
from policy.permission.suppression import Reason

Found = TypeVar("Found")

CALLS, KEYS = 200, 2000  # limits of one batch

_Question = tuple[int, Sequence[Address], Sequence[bytes]]  # account, addresses and their keys


class AddressLookup(Generic[Found]):
    """A batched query by address.

    ``statement`` selects rows with an ``address_key`` from the keys ($1). ``make(address, key, account_id, rows)``
    builds the answer about one address from all its rows, of every account. ``call`` labels the metrics.
    """

    def __init__(
        self,
        statement: str,
        make: Callable[[Address, bytes, int, Sequence[Any]], Found],
        *,
        call: StoreCall,
        database: Database,
        secrets: Secrets,
        metrics: Metrics | None,
    ) -> None:
        self._statement, self._make, self._call = statement, make, call
        self._database, self._secrets, self._metrics = database, secrets, metrics
        self._questions: Batch[_Question, list[Found]] = Batch(
            self._flush, items=CALLS, weight=KEYS, weigh=lambda question: len(question[1])
        )

    async def find(self, account_id: int, addresses: Sequence[Address]) -> list[Found]:
        """Return the answer about each address, in the order given. Raises StoreUnavailable."""
        if not addresses:
            return []
        began = time.perf_counter()
        keys = [self._secrets.address_key(address) for address in addresses]
        try:
            found = await self._questions.do((account_id, addresses, keys))
        except StoreUnavailable:
            if self._metrics:
                self._metrics.store_unavailable.inc()
            raise
        if self._metrics:
            self._metrics.store_seconds[self._call].observe(time.perf_counter() - began)
        return found

    async def _flush(self, questions: list[_Question], since: float) -> list[list[Found]]:
        left = self._database.timeout - (asyncio.get_running_loop().time() - since)
        async with self._database.session(left) as connection:
            rows = await connection.fetch(self._statement, list({key for _, _, keys in questions for key in keys}))
        known: dict[bytes, list[Any]] = {}
        for row in rows:
            known.setdefault(row["address_key"], []).append(row)
        return [
            [
                self._make(address, key, account_id, known.get(key, ()))
                for address, key in zip(addresses, keys, strict=True)
            ]
            for account_id, addresses, keys in questions
        ]


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
