"""Tokens of the API: made with a role, looked up by their digest, revoked at once.

Invariants: only the digest of a token is stored; names are never given twice. A token that was revoked or has expired
is not found, in any process within a second of its revocation.
Limitations: the last use is kept to the minute.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from mta.store.journal.account_changes import AccountError
from mta.store.postgres.database import Database

CHANNEL = "api_tokens"
CACHED = 10_000  # tokens, valid ones only
CACHED_FOR = 30.0  # seconds, in case a notification was missed
USED_EVERY = 60.0  # seconds between two notes of the last use

_COLUMNS = """
t.id, t.name, t.role, t.account_id, a.name as account, t.scopes, t.created_by, t.created_at, t.expires_at, t.revoked_at,
t.last_used_at, t.last_used_from"""
_FROM = "from api_token t left join account a on a.id = t.account_id"

_FIND = f"""
select {_COLUMNS} {_FROM}
where t.digest = $1 and t.revoked_at is null and coalesce(t.expires_at > now(), true)"""

_LIST = f"""
select {_COLUMNS} {_FROM} where ($1::bigint is null or t.account_id = $1) and t.id > $2
order by t.id limit $3"""

_BY_NAME = f"select {_COLUMNS} {_FROM} where t.name = $1"

_ADD = """
insert into api_token (name, digest, role, account_id, scopes, created_by, expires_at)
values ($1, $2, $3, $4, $5, $6, $7)"""

_REVOKE = "update api_token set revoked_at = now() where name = $1 and revoked_at is null returning id"

_USED = """
update api_token set last_used_at = now(), last_used_from = $2
where id = $1 and coalesce(last_used_at < now() - interval '1 minute', true)"""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as it is stored. ``scopes`` None: all that the role may do."""

    id: int
    name: str
    role: str
    account_id: int | None
    account: str | None
    scopes: tuple[str, ...] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None

    @property
    def is_valid(self) -> bool:
        expired = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return self.revoked_at is None and not expired


class ApiTokens:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[bytes, tuple[float, ApiToken]] = OrderedDict()
        self._used: dict[int, float] = {}

    def changed(self, _: str | None = None) -> None:
        """Forget what is remembered: a token was revoked, or may have been."""
        self._cache.clear()

    async def add(
        self,
        name: str,
        token: str,
        *,
        role: str,
        account_id: int | None = None,
        scopes: Sequence[str] | None = None,
        by: str,
        expires_at: datetime | None = None,
    ) -> ApiToken:
        """Raises AccountError if the name was ever used, StoreUnavailable."""
        async with self._database.session() as connection:
            try:
                await connection.execute(_ADD, name, digest(token), role, account_id, scopes, by, expires_at)
            except asyncpg.UniqueViolationError:
                raise AccountError(f"the token name {name!r} was used before; names are not given twice") from None
        return await self.by_name(name)

    async def revoke(self, name: str) -> None:
        """End a token now, on every machine. Raises AccountError, StoreUnavailable."""
        async with self._database.session() as connection, connection.transaction():
            if await connection.fetchval(_REVOKE, name) is None:
                raise AccountError(f"there is no token {name!r}, or it was revoked before")
            await connection.execute("select pg_notify($1, '')", CHANNEL)
        self.changed()

    async def by_name(self, name: str) -> ApiToken:
        """Raises AccountError, StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_BY_NAME, name)
        if row is None:
            raise AccountError(f"there is no token {name!r}")
        return _token(row)

    async def list(self, account_id: int | None = None, *, after: int = 0, limit: int = 1000) -> list[ApiToken]:
        """Return the tokens in the order in which they were made, revoked ones too. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_token(row) for row in await connection.fetch(_LIST, account_id, after, limit)]

    async def find(self, token: str) -> ApiToken | None:
        """Return the valid token that reads ``token``, None if there is none. Raises StoreUnavailable."""
        key, now = digest(token), time.monotonic()
        known = self._cache.get(key)
        if known and now - known[0] < CACHED_FOR:
            return known[1] if known[1].is_valid else None
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FIND, key)
        if row is None:
            return None
        found = _token(row)
        self._cache[key] = now, found
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return found

    async def used(self, token: ApiToken, source: str) -> None:
        """Note the use of a token, if that is due. Raises StoreUnavailable."""
        now = time.monotonic()
        if now - self._used.get(token.id, -USED_EVERY) < USED_EVERY:
            return
        if len(self._used) > CACHED:
            self._used.clear()
        self._used[token.id] = now
        async with self._database.session() as connection:
            await connection.execute(_USED, token.id, source)


def digest(token: str) -> bytes:
    """Return what is stored of a token: it has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).digest()


def _token(row: asyncpg.Record) -> ApiToken:
    scopes = row["scopes"]
    return ApiToken(**{**row, "scopes": None if scopes is None else tuple(scopes)})
