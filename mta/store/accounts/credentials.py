"""Credentials: created with a scope, replaced without a gap, revoked at once or at a given time.

Invariants: only data that verifies a secret is stored, never the secret; user names are never reused, so old records
stay unambiguous.

Limitations: a credential with a given end works until then by the clock of each machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from mta.store.journal.account_changes import AccountChangeKind, AccountError, Changes, lock_alive, note
from mta.store.postgres.database import Connection
from policy.accounts.account import Grant

_INSERT = """
insert into credential (username, account_id, argon2, scram, streams, domains, rate, burst, purposes, signs)
values ($1, $2, $3, $4, $5::text[]::stream[], $6, $7, $8, $9, $10)"""

_GRANT = """
update credential set
    streams = $2::text[]::stream[], domains = $3, rate = $4, burst = $5, purposes = $6, signs = $7
where username = $1 and coalesce(revoked_at > now(), true) returning account_id"""

_SCOPE = """
select account_id, streams::text[] as streams, domains, rate, burst, purposes, signs from credential
where username = $1"""

_END = """
update credential set revoked_at = now() + $2::interval
where username = $1 and coalesce(revoked_at > now() + $2::interval, true) returning account_id, revoked_at"""


class Credentials:
    """Made by ``Store``."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def add(
        self,
        account_id: int,
        username: str,
        *,
        argon2: str,
        scram: str,
        grant: Grant | None = None,
        by: str = "",
        reason: str = "",
    ) -> None:
        """Raises AccountError if the name was ever used, or the scope is wider than the account; StoreUnavailable."""
        _check_name(username)
        scope = grant or Grant()
        _check(scope)

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await _require_domains(connection, account_id, scope.domains or ())
            await _insert(connection, username, account_id, argon2, scram, *_columns(scope))
            data = {"added": username} | fields(scope) | _because(reason)
            await note(connection, account_id, by, AccountChangeKind.CREDENTIAL, data)

        await self._changes.change(work)

    async def set_grant(self, username: str, grant: Grant, *, by: str = "", reason: str = "") -> None:
        """Change what a credential may do. Raises AccountError, StoreUnavailable."""
        _check(grant)

        async def work(connection: Connection) -> None:
            account_id = await connection.fetchval(_GRANT, username, *_columns(grant))
            if account_id is None:
                raise _not_there(username)
            await _require_domains(connection, account_id, grant.domains or ())
            data = {"changed": username} | fields(grant) | _because(reason)
            await note(connection, account_id, by, AccountChangeKind.CREDENTIAL, data)

        await self._changes.change(work)

    async def rotate(
        self, username: str, successor: str, *, argon2: str, scram: str, overlap: timedelta, by: str = ""
    ) -> datetime:
        """Make ``successor`` with the scope of ``username``, which ends after ``overlap``; the moment of that.

        Raises AccountError, StoreUnavailable.
        """
        _check_name(successor)

        async def work(connection: Connection) -> datetime:
            ended = await connection.fetchrow(_END, username, overlap)
            if ended is None:
                raise _not_there(username)
            await lock_alive(connection, ended["account_id"])
            old = await connection.fetchrow(_SCOPE, username)
            assert old is not None
            account_id, *scope = old
            await _insert(connection, successor, account_id, argon2, scram, *scope)
            data = {"added": successor, "replaces": username, "until": ended["revoked_at"].isoformat()}
            await note(connection, ended["account_id"], by, AccountChangeKind.CREDENTIAL, data)
            until: datetime = ended["revoked_at"]
            return until

        return await self._changes.change(work)

    async def revoke(self, username: str, *, by: str = "", reason: str = "") -> None:
        """End a credential now, for live sessions at their next MAIL. Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            ended = await connection.fetchrow(_END, username, timedelta())
            if ended is None:
                raise _not_there(username)
            data = {"revoked": username, "reason": reason}
            await note(connection, ended["account_id"], by, AccountChangeKind.CREDENTIAL, data)

        await self._changes.change(work)


def fields(grant: Grant) -> dict[str, Any]:
    """A scope for the record, and for machines."""
    return {
        "streams": None if grant.streams is None else sorted(stream.value for stream in grant.streams),
        "domains": None if grant.domains is None else sorted(grant.domains),
        "rate": grant.rate,
        "burst": grant.burst,
        "purposes": [str(purpose) for purpose in grant.purposes],
        "signs": sorted(grant.signs),
    }


def _because(reason: str) -> dict[str, str]:
    return {"reason": reason} if reason else {}


def _columns(grant: Grant) -> tuple[Any, ...]:
    scope = fields(grant)
    return tuple(scope[name] for name in ("streams", "domains", "rate", "burst", "purposes", "signs"))


def _check_name(username: str) -> None:
    if not username or len(username) > 255 or not username.isprintable() or " " in username:
        raise AccountError(f"{username!r}: a user name is 1 to 255 printable characters without spaces")


def _check(grant: Grant) -> None:
    if grant.streams is not None and not grant.streams:
        raise AccountError("a credential without a stream could send nothing; allow marketing, transactional or both")
    if grant.rate is not None and not 0 < grant.rate < 1e6:
        raise AccountError(f"a rate is a number of messages a second above 0, not {grant.rate:g}")
    if grant.burst is not None and not 0 < grant.burst < 2**31:
        raise AccountError(f"a burst is a number of messages above 0, not {grant.burst}")


async def _require_domains(connection: Connection, account_id: int, domains: Iterable[str]) -> None:
    rows = await connection.fetch("select domain from sender_domain where account_id = $1", account_id)
    if foreign := sorted(set(domains) - {row["domain"] for row in rows}):
        raise AccountError(f"{foreign[0]} is not a domain of this account; add it first")


async def _insert(connection: Connection, username: str, *values: Any) -> None:
    """``values``: account, verifiers and the columns of the scope."""
    try:
        await connection.execute(_INSERT, username, *values)
    except asyncpg.UniqueViolationError:
        raise AccountError(f"the user name {username!r} was used before; names are not given twice") from None


def _not_there(username: str) -> AccountError:
    return AccountError(f"there is no credential {username!r}, or it was revoked before")
