"""Look up what is stored about addresses, batching concurrent questions into one query.

Addresses are found by their keyed hash. Each lookup has its own statement and its own function that turns rows into
answers.

Invariants: StoreUnavailable is raised if the database cannot be queried; an empty answer always means that nothing is
stored.

Limitations: with a different secret file nothing is found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from mta.mail.address import Address
from mta.observe.labels import StoreCall
from mta.observe.metrics import Metrics
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import Database
from mta.store.postgres.errors import StoreUnavailable
from mta.store.postgres.secrets import Secrets

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
