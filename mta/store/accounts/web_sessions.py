"""Sessions of the pages, one-time login links, and challenges for passkeys.

Invariants: only digests of what a browser holds are stored. A link and a challenge are used once. A session ends when
it was idle for too long, at its absolute end, at the logout, and when its user is disabled or reset.
Limitations: the last use is kept to the minute.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mta.store.postgres.database import Database

IDLE = timedelta(hours=2)
LIFETIME = timedelta(hours=12)
CODE_WITHIN = timedelta(minutes=5)  # after the password
ANSWER_WITHIN = timedelta(minutes=5)  # a challenge
MAX_AGENT = 200  # characters

_FIND = """
select s.user_id, s.waits_for_code, s.created_at, s.seen_at, s.expires_at, s.source, s.agent
from web_session s join web_user u on u.id = s.user_id
where s.digest = $1 and s.expires_at > now() and s.seen_at > now() - $2::interval and u.disabled_at is null"""

_SEEN = "update web_session set seen_at = now() where digest = $1 and seen_at < now() - interval '1 minute'"

_OPEN = """
insert into web_session (digest, user_id, waits_for_code, expires_at, source, agent)
values ($1, $2, $3, now() + $4::interval, $5, $6)"""

_TAKE_LINK = """
delete from login_link l using web_user u
where l.digest = $1 and l.expires_at > now() and u.id = l.user_id and u.disabled_at is null returning l.user_id"""

_LINK_OF = """
select u.name from login_link l join web_user u on u.id = l.user_id
where l.digest = $1 and l.expires_at > now() and u.disabled_at is null"""

_TAKE_CHALLENGE = """
delete from passkey_challenge where challenge = $1 and user_id is not distinct from $2 and expires_at > now()
returning challenge"""


@dataclass(frozen=True, slots=True)
class WebSession:
    """A session in force. ``waits_for_code``: the user is not logged in before the code came."""

    user_id: int
    waits_for_code: bool
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    source: str
    agent: str


class WebSessions:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, user_id: int, *, waits_for_code: bool, source: str, agent: str) -> str:
        """Begin a session; return what the cookie holds. Raises StoreUnavailable."""
        token = secrets.token_urlsafe(32)
        lifetime = CODE_WITHIN if waits_for_code else LIFETIME
        async with self._database.session() as connection:
            await connection.execute(_OPEN, digest(token), user_id, waits_for_code, lifetime, source, agent[:MAX_AGENT])
        return token

    async def find(self, token: str) -> WebSession | None:
        """Return the session if it is in force. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FIND, digest(token), IDLE)
        return WebSession(**row) if row else None

    async def seen(self, token: str) -> None:
        """Note that a session is used. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_SEEN, digest(token))

    async def end(self, token: str) -> None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute("delete from web_session where digest = $1", digest(token))

    async def end_others(self, user_id: int, token: str) -> None:
        """End the user's sessions but this one. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "delete from web_session where user_id = $1 and digest <> $2", user_id, digest(token)
            )

    async def of(self, user_id: int) -> Sequence[WebSession]:
        """Return the user's sessions in force, the newest first. Raises StoreUnavailable."""
        question = """
            select user_id, waits_for_code, created_at, seen_at, expires_at, source, agent from web_session
            where user_id = $1 and expires_at > now() and seen_at > now() - $2::interval and not waits_for_code
            order by created_at desc"""
        async with self._database.session() as connection:
            return [WebSession(**row) for row in await connection.fetch(question, user_id, IDLE)]

    # links

    async def add_link(self, user_id: int, lifetime: timedelta) -> str:
        """Return the token of a new one-time link. Raises StoreUnavailable."""
        token = secrets.token_urlsafe(32)
        async with self._database.session() as connection:
            await connection.execute(
                "insert into login_link (digest, user_id, expires_at) values ($1, $2, now() + $3::interval)",
                digest(token), user_id, lifetime,
            )  # fmt: skip
        return token

    async def user_of_link(self, token: str) -> str | None:
        """Return the name of the user whom a link logs in, None if it is not valid; it stays valid."""
        async with self._database.session() as connection:
            name: str | None = await connection.fetchval(_LINK_OF, digest(token))
            return name

    async def take_link(self, token: str) -> int | None:
        """Return the id of the user whom a link logs in, None if it is not valid; it is not valid any more."""
        async with self._database.session() as connection:
            number: int | None = await connection.fetchval(_TAKE_LINK, digest(token))
            return number

    # challenges

    async def add_challenge(self, challenge: bytes, user_id: int | None) -> None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "insert into passkey_challenge values ($1, $2, now() + $3::interval)", challenge, user_id, ANSWER_WITHIN
            )

    async def take_challenge(self, challenge: bytes, user_id: int | None) -> bool:
        """Return whether we gave this challenge, which is not valid any more. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return await connection.fetchval(_TAKE_CHALLENGE, challenge, user_id) is not None

    async def sweep(self) -> None:
        """Delete what has expired. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute("delete from passkey_challenge where expires_at < now()")
            await connection.execute("delete from login_link where expires_at < now()")
            await connection.execute(
                "delete from web_session where expires_at < now() or seen_at < now() - $1::interval", IDLE
            )


def digest(token: str) -> bytes:
    """Return what is stored of a token: it has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
