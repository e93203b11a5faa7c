"""DKIM keys in the database: the private part sealed with the installation's secret.

A key is pending (its record is not yet published), then active (it signs), then retired (it no longer signs).

Invariants: a private key is given to the signer only, and never stored in the clear.

Limitations: the database together with the secret file reveals the keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import asyncpg

from config.hosts import dkim_record_name
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import ChangeRefused
from mta.store.postgres.secrets import SecretError, Secrets

CHANNEL = "keys"


class KeyState(Enum):
    PENDING = "pending"
    ACTIVE = "active"
    RETIRED = "retired"


class KeyExists(ChangeRefused):
    """There is a key with this domain and selector already."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """``pem``: the private key, opened; keep it out of sight. None: it was sealed under another secret file."""

    domain: str
    selector: str
    algorithm: str
    state: KeyState
    pem: bytes | None = field(repr=False)
    created_at: datetime
    changed_at: datetime


class DkimKeys:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    async def list(self) -> list[StoredKey]:
        """All keys by domain and selector. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(
                "select domain, selector, algorithm, state::text, sealed, created_at, changed_at from dkim_key"
                " order by domain, selector"
            )
        return [
            StoredKey(
                row["domain"],
                row["selector"],
                row["algorithm"],
                KeyState(row["state"]),
                self._unsealed(row["sealed"]),
                row["created_at"],
                row["changed_at"],
            )
            for row in rows
        ]

    def _unsealed(self, sealed: bytes) -> bytes | None:
        try:
            return self._secrets.unseal(sealed)
        except SecretError:
            return None

    async def add(self, domain: str, selector: str, algorithm: str, pem: bytes) -> None:
        """A new key, pending. ``algorithm``: rsa-sha256 or ed25519-sha256. Raises KeyExists, StoreUnavailable."""
        sealed = self._secrets.seal(pem)

        async def work(connection: Connection) -> None:
            await connection.execute(
                "insert into dkim_key (domain, selector, algorithm, sealed) values ($1, $2, $3, $4)",
                domain, selector, algorithm, sealed,
            )  # fmt: skip
            await connection.execute("select pg_notify($1, '')", CHANNEL)

        try:
            await self._database.retried(work)
        except asyncpg.UniqueViolationError:
            name = dkim_record_name(selector, domain)
            raise KeyExists(f"there is a key {name} already; take another selector") from None

    async def set_state(self, domain: str, selector: str, state: KeyState) -> None:
        """Raises LookupError if there is no such key, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            changed = await connection.fetchval(
                "update dkim_key set state = ($3::text)::key_state, changed_at = now()"
                " where domain = $1 and selector = $2 returning true",
                domain, selector, state.value,
            )  # fmt: skip
            if not changed:
                raise LookupError(f"there is no key {dkim_record_name(selector, domain)}")
            await connection.execute("select pg_notify($1, '')", CHANNEL)

        await self._database.retried(work)
