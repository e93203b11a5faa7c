"""Suppressions: looked up for every recipient, added manually or after a failure, removed manually only.

Concurrent lookups of sessions and deliveries share one query.

Invariants: StoreUnavailable is raised if the database cannot be queried; an empty answer always means that nothing is
stored.

Limitations: with a different secret file nothing is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from mta.mail.address import Address
from mta.mail.identity import MessageId
from mta.mail.reply import sanitise
from mta.observe.labels import StoreCall
from mta.observe.metrics import Metrics
from mta.store.permission import import_progress, suppression_writer
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.recipients import AddressLookup
from mta.store.permission.suppression_writer import Applied
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets, address_placeholder
from mta.store.queue.removal import GLOBAL
from policy.base import Suppression
from policy.permission.suppression import Reason, SuppressionRequest

EVERYBODYS = 0  # files of suppressions belong to no single account
SECONDS = 30.0  # per transaction of several hundred

_FIND = """
select address_key, account_id, topic, reason, detail, rule, created_at, expires_at from suppression
where address_key = any($1::bytea[]) and (expires_at is null or expires_at > now()) order by account_id, topic"""

_OF = """
select account_id, topic, reason, detail, rule, evidence, message_id, created_at, expires_at from suppression
where address_key = $1 and (expires_at is null or expires_at > now()) order by account_id, topic"""

_LIST = """
select address, address_key, account_id, topic, reason, detail, rule, created_at, expires_at from suppression
where ($1::bigint is null or account_id = $1) and (expires_at is null or expires_at > now())
order by created_at, address desc"""

_PAGE = """
select address, address_key, account_id, topic, reason, detail, rule, created_at, expires_at from suppression
where ($1::bigint is null or account_id = $1) and (expires_at is null or expires_at > now())
    and ($2::text is null or reason = $2)
    and ($3::timestamptz is null or (created_at, address_key, account_id, topic) < ($3, $4, $5, $6))
order by created_at desc, address_key desc, account_id desc, topic desc limit $7"""

_REMOVE = """
delete from suppression where address_key = $1 and account_id = $2 and topic = $3
returning reason, detail, rule, created_at"""

_NOTE = "insert into event (kind, data) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class SuppressionKey:
    """The place of a suppression among all of them, ordered by time. ``account_id`` 0: for all accounts."""

    since: datetime
    address_key: bytes
    account_id: int
    topic: str


@dataclass(frozen=True, slots=True)
class SuppressionRecord:
    """A suppression with its evidence. ``message_id``: the message whose failure caused it."""

    suppression: Suppression
    evidence: str
    message_id: MessageId | None


class Suppressions:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets, metrics: Metrics | None) -> None:
        self._database, self._secrets, self._metrics = database, secrets, metrics
        self._look = AddressLookup(
            _FIND, _standing, call=StoreCall.SUPPRESSIONS, database=database, secrets=secrets, metrics=metrics
        )

    async def find(self, account_id: int, addresses: Sequence[Address]) -> list[Suppression]:
        """Return the suppressions of each address for this account, the widest scope first; ``Suppression`` says
        which messages it covers. Raises StoreUnavailable; then no recipient may be mailed."""
        return [each for standing in await self._look.find(account_id, addresses) for each in standing]

    def key(self, address: Address) -> bytes:
        """Return the keyed hash of an address."""
        return self._secrets.address_key(address)

    def act(
        self,
        account_id: int | None,
        address: Address,
        reason: Reason = Reason.MANUAL,
        *,
        detail: str = "",
        rule: str = "operator",
        evidence: str = "",
        topic: str = "",
        by: str = "",
        expires_at: datetime | None = None,
    ) -> SuppressionRequest:
        """Return a request for ``apply``, for a known address. ``account_id`` None: for all accounts."""
        return SuppressionRequest(
            self.key(address),
            account_id or GLOBAL,
            reason,
            rule,
            topic,
            address,
            detail,
            evidence,
            by=by,
            expires_at=expires_at,
        )

    async def apply(self, acts: Sequence[SuppressionRequest], mark: ImportProgress | None = None) -> Applied:
        """Run ``suppression_writer.apply`` in its own transaction, for several hundred requests at a time. ``mark``:
        the progress of the import that they come from. Raises StoreUnavailable; then nothing was written."""

        async def work(connection: Connection) -> Applied:
            applied = await suppression_writer.apply(connection, acts)
            if mark:
                await import_progress.move(connection, EVERYBODYS, mark)
            return applied

        return await self._database.retried(work, seconds=SECONDS) if acts or mark else Applied()

    async def begin_import(self, file: bytes) -> ImportProgress:
        """Return the progress of this file's import, creating it if it is new. Raises StoreUnavailable."""
        mark = await import_progress.begin(self._database, EVERYBODYS, file)
        return ImportProgress(file, 0) if mark.finished else mark

    async def add(
        self,
        account_id: int | None,
        address: Address,
        reason: Reason = Reason.MANUAL,
        *,
        detail: str = "",
        topic: str = "",
    ) -> int:
        """Suppress ``address`` for an account, or for all (None), and cancel its queued copies; return how many.

        Raises StoreUnavailable.
        """
        return (await self.apply([self.act(account_id, address, reason, detail=detail, topic=topic)])).pulled

    async def remove(
        self, account_id: int | None, address: Address, *, reason: str, topic: str = "", by: str = ""
    ) -> Reason | None:
        """Remove a suppression; return its reason, or None if there was none in exactly this scope.

        The caller checks first whether the account's profile allows it (``policy.permission.suppression.Lifting``).
        Raises StoreUnavailable.
        """
        key = self._secrets.address_key(address)

        async def work(connection: Connection) -> Reason | None:
            row = await connection.fetchrow(_REMOVE, key, account_id or GLOBAL, topic)
            if row is None:
                return None
            told = {
                "account_id": account_id,
                "topic": topic,
                "address": str(address),
                "because": sanitise(reason, 200),
                "by": by,
                "was": dict(row),
            }
            await connection.execute(_NOTE, "unsuppressed", orjson.dumps(told).decode())
            return Reason(row["reason"])

        return await self._database.retried(work)

    async def of(self, address: Address) -> Sequence[SuppressionRecord]:
        """Return every suppression of ``address``, in all scopes, the global one first. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            found = await connection.fetch(_OF, self._secrets.address_key(address))
        return [SuppressionRecord(_suppression(address, row), row["evidence"], row["message_id"]) for row in found]

    async def page(
        self,
        account_id: int | None = None,
        *,
        reason: Reason | None = None,
        before: SuppressionKey | None = None,
        limit: int = 100,
    ) -> list[tuple[SuppressionKey, Suppression]]:
        """Return the newest suppressions first, those after ``before`` in this order. ``account_id`` 0: only the global
        ones. Raises StoreUnavailable."""
        place = (before.since, before.address_key, before.account_id, before.topic) if before else (None,) * 4
        async with self._database.session() as connection:
            rows = await connection.fetch(_PAGE, account_id, reason.value if reason else None, *place, limit)
        return [(_key(row), _suppression(_address(row), row)) for row in rows]

    async def list(self, account_id: int | None = None) -> list[Suppression]:
        """Return all suppressions, oldest first. ``account_id`` 0: only the global ones. Raises StoreUnavailable."""
        async with self._database.session(60) as connection:
            listed = await connection.fetch(_LIST, account_id)
        return [_suppression(_address(row), row) for row in listed]


def _key(row: Any) -> SuppressionKey:
    return SuppressionKey(row["created_at"], row["address_key"], row["account_id"], row["topic"])


def _standing(address: Address, _: bytes, account_id: int, rows: Sequence[Any]) -> list[Suppression]:
    """Return the suppressions that apply to this account."""
    return [_suppression(address, row) for row in rows if row["account_id"] in (GLOBAL, account_id)]


def _suppression(address: Address, row: Any) -> Suppression:
    return Suppression(
        address,
        row["account_id"] or None,
        Reason(row["reason"]),
        row["rule"],
        row["created_at"],
        row["topic"],
        row["detail"],
        row["expires_at"],
    )


def _address(row: Any) -> Address:
    """Return the address, or a stand-in if only its hash is known."""
    local, _, domain = (row["address"] or address_placeholder(row["address_key"])).rpartition("@")
    return Address(local, domain)
