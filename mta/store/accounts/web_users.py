"""The people who log in to the pages: who they are, their passwords, codes and passkeys.

Invariants: a password is kept as its hash, the secret of an authenticator app sealed. A code is taken once. A name is
never given twice, so that old records stay unambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from mta.store.accounts.web_sessions import digest
from mta.store.journal.account_changes import AccountError
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets

FREE_FAILURES = 4  # wrong passwords or codes before a name is locked
FIRST_LOCK, LONGEST_LOCK = 15, 900  # seconds; each further failure doubles it
PASSKEYS = 20  # that one user may have

_COLUMNS = """
u.id, u.name, u.role, u.account_id, a.name as account, u.password, u.totp, u.totp_step, u.failures,
u.locked_until > now() as locked, u.locked_until, u.disabled_at, u.created_by, u.created_at, u.last_login_at,
u.last_login_from, (select count(*) from passkey p where p.user_id = u.id) as passkeys"""
_FROM = "from web_user u left join account a on a.id = u.account_id"

_FAILED = """
update web_user set failures = failures + 1, locked_until = case
    when failures + 1 > $2 then now() + least($4, $3 * 2.0 ^ least(failures - $2, 20)) * interval '1 second' end
where id = $1"""

_LOGGED_IN = """
update web_user set failures = 0, locked_until = null, last_login_at = now(), last_login_from = $2 where id = $1"""

_RESET = """
update web_user set password = null, totp = null, totp_step = 0, failures = 0, locked_until = null where id = $1"""

_SET_LOGIN = "update web_user set password = $2, totp = $3, totp_step = $4 where id = $1"

_ADD_KEY = """
insert into passkey (id, user_id, name, public_key, sign_count)
select $1, $2, $3, $4, $5 where (select count(*) from passkey where user_id = $2) < $6"""


@dataclass(frozen=True, slots=True)
class WebUser:
    """A person as stored. ``password``: its argon2id hash."""

    id: int
    name: str
    role: str
    account_id: int | None
    account: str | None
    password: str | None
    totp: bytes | None
    totp_step: int
    failures: int
    locked: bool | None
    locked_until: datetime | None
    disabled_at: datetime | None
    created_by: str
    created_at: datetime
    last_login_at: datetime | None
    last_login_from: str | None
    passkeys: int

    @property
    def has_password(self) -> bool:
        """Whether the user can log in by password and code; neither suffices without the other."""
        return self.password is not None and self.totp is not None


@dataclass(frozen=True, slots=True)
class Passkey:
    id: bytes
    user_id: int
    name: str
    public_key: bytes
    sign_count: int
    created_at: datetime
    last_used_at: datetime | None


class WebUsers:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    async def add(self, name: str, *, role: str, account_id: int | None, by: str) -> WebUser:
        """Raises AccountError if the name was ever used, StoreUnavailable."""
        async with self._database.session() as connection:
            try:
                await connection.execute(
                    "insert into web_user (name, role, account_id, created_by) values ($1, $2, $3, $4)",
                    name, role, account_id, by,
                )  # fmt: skip
            except asyncpg.UniqueViolationError:
                raise AccountError(f"the user name {name!r} was used before; names are not given twice") from None
        return await self.by_name(name)

    async def by_name(self, name: str) -> WebUser:
        """Raises AccountError if there is no such user, StoreUnavailable."""
        found = await self.find(name)
        if found is None:
            raise AccountError(f"there is no user {name!r}")
        return found

    async def find(self, name: str) -> WebUser | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return _user(await connection.fetchrow(f"select {_COLUMNS} {_FROM} where u.name = $1", name))

    async def by_id(self, number: int) -> WebUser | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return _user(await connection.fetchrow(f"select {_COLUMNS} {_FROM} where u.id = $1", number))

    async def list(self, account_id: int | None = None) -> list[WebUser]:
        """Return the users by name, disabled ones too. Raises StoreUnavailable."""
        question = f"select {_COLUMNS} {_FROM} where ($1::bigint is null or u.account_id = $1) order by u.name"
        async with self._database.session() as connection:
            return [WebUser(**row) for row in await connection.fetch(question, account_id)]

    async def set_disabled(self, number: int, *, disabled: bool) -> None:
        """Let a user in no more, and end their sessions; or let them in again. Raises StoreUnavailable."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(
                "update web_user set disabled_at = case when $2 then now() end where id = $1", number, disabled
            )
            if disabled:
                await _end_access(connection, number)

    async def reset(self, number: int) -> None:
        """Forget password, code and passkeys of a user, and end their sessions and links. Raises StoreUnavailable."""
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(_RESET, number)
            await connection.execute("delete from passkey where user_id = $1", number)
            await _end_access(connection, number)

    async def set_login(self, number: int, *, password: str, secret: str, step: int, keep: str) -> None:
        """Set the hash of a password, and the secret of the authenticator app with the step of the code that proved it.

        As every change of how to log in, it ends the user's links, and their sessions but ``keep``. Raises
        StoreUnavailable.
        """
        sealed = self._secrets.seal(secret.encode())
        async with self._database.session() as connection, connection.transaction():
            await connection.execute(_SET_LOGIN, number, password, sealed, step)
            await _end_access(connection, number, keep)

    def totp_secret(self, user: WebUser) -> str:
        """Raises SecretError if it was sealed under another secret file."""
        assert user.totp is not None
        return self._secrets.unseal(user.totp).decode()

    async def take_step(self, number: int, step: int) -> bool:
        """Note that the code of ``step`` was used; return False if it or a later one was before."""
        async with self._database.session() as connection:
            question = "update web_user set totp_step = $2 where id = $1 and totp_step < $2 returning id"
            return await connection.fetchval(question, number, step) is not None

    async def failed(self, number: int) -> None:
        """Count a wrong password or code, and lock the name after some. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FAILED, number, FREE_FAILURES, float(FIRST_LOCK), float(LONGEST_LOCK))

    async def logged_in(self, number: int, source: str) -> None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_LOGGED_IN, number, source)

    # passkeys

    async def passkeys(self, number: int) -> Sequence[Passkey]:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch("select * from passkey where user_id = $1 order by created_at", number)
        return [Passkey(**row) for row in rows]

    async def passkey(self, identifier: bytes) -> Passkey | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow("select * from passkey where id = $1", identifier)
        return Passkey(**row) if row else None

    async def add_passkey(
        self, number: int, identifier: bytes, name: str, public_key: bytes, count: int, *, keep: str
    ) -> None:
        """Add a passkey; end the user's links, and their sessions but ``keep``.

        Raises AccountError if it is known or there are too many, StoreUnavailable.
        """
        try:
            async with self._database.session() as connection, connection.transaction():
                done = await connection.execute(_ADD_KEY, identifier, number, name, public_key, count, PASSKEYS)
                if done.endswith(" 0"):
                    raise AccountError(f"a user has at most {PASSKEYS} passkeys: remove one first")
                await _end_access(connection, number, keep)
        except asyncpg.UniqueViolationError:
            raise AccountError("this passkey is registered already") from None

    async def remove_passkey(self, number: int, identifier: bytes, *, keep: str) -> bool:
        """Return whether there was such a passkey; then end the user's links, and their sessions but ``keep``.

        Raises StoreUnavailable.
        """
        question = "delete from passkey where user_id = $1 and id = $2 returning id"
        async with self._database.session() as connection, connection.transaction():
            if await connection.fetchval(question, number, identifier) is None:
                return False
            await _end_access(connection, number, keep)
        return True

    async def passkey_used(self, identifier: bytes, count: int) -> None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "update passkey set sign_count = $2, last_used_at = now() where id = $1", identifier, count
            )


async def _end_access(connection: Connection, number: int, keep: str = "") -> None:
    """``keep``: the token of a session that goes on."""
    statement = "delete from web_session where user_id = $1 and digest <> $2"
    await connection.execute(statement, number, digest(keep))
    await connection.execute("delete from login_link where user_id = $1", number)


def _user(row: asyncpg.Record | None) -> WebUser | None:
    return WebUser(**row) if row else None
