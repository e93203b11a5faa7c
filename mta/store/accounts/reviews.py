"""What a reviewer checks: legal identities, accepted terms, list origins; and the settings of an account.

Invariants: an acceptance, or the author of an approval, is never lost.

Limitations: a replaced identity is found in the account's history only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

import orjson

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountChangeKind, AccountError, Changes, lock_alive, note
from mta.store.postgres.database import Connection
from policy.accounts.account import DEFAULT_WEIGHT, MAX_WEIGHT, Identity

_LANGUAGE = re.compile(r"[a-z]{2,3}\Z")
_LONGEST = 1000  # characters of anything written here

_ACCEPT = """
insert into terms_acceptance (account_id, version, by) values ($1, $2, $3)
on conflict (account_id, version) do update set at = now(), by = excluded.by"""

_IDENTITY = """
insert into account_identity (account_id, language, identity) values ($1, $2, $3)
on conflict (account_id, language) do update set identity = excluded.identity"""

_SOURCE = """
insert into list_source (account_id, name, origin) values ($1, $2, $3)
on conflict (account_id, name) do update
    set origin = excluded.origin, created_at = now(), approved_at = null, approved_by = null"""

_APPROVE = """
update list_source set approved_at = now(), approved_by = $3 where account_id = $1 and name = $2 returning origin"""


class Setting(Enum):
    """A setting of an account; the value is its column."""

    BOUNCE_NOTIFICATIONS = "bounce_notifications"
    PROFILE = "profile"
    CONTACT = "contact"
    QUOTA_DAY = "quota_day"
    QUOTA_MONTH = "quota_month"
    ADULT_AGREED = "adult_agreed"
    POOL = "pool"
    WEIGHT = "weight"
    MAX_PRIORITY = "max_priority"


class Reviews:
    """Made by ``Store``."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def set(self, account_id: int, settings: Mapping[Setting, Any], *, by: str = "") -> None:
        """Change settings; None for a quota lifts it. Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            for setting, value in settings.items():
                _check_setting(setting, value)
                statement = f"update account set {setting.value} = $2 where id = $1"  # noqa: S608 - an enum's own text
                await connection.execute(statement, account_id, value)
            data = {setting.value: value for setting, value in settings.items()}
            await note(connection, account_id, by, AccountChangeKind.SETTING, data)

        await self._changes.change(work)

    async def accept_terms(self, account_id: int, version: str, *, person: str, by: str = "") -> None:
        """``person`` accepted this version for the account; ``by`` wrote it down. Raises AccountError,
        StoreUnavailable."""
        person, version = _text("who accepts the terms", person), _text("the terms' version", version)

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await connection.execute(_ACCEPT, account_id, version, person)
            await note(connection, account_id, by, AccountChangeKind.TERMS, {"version": version, "accepted by": person})

        await self._changes.change(work)

    async def set_identity(self, account_id: int, identity: Identity, *, by: str = "") -> None:
        """Register who stands behind the account, in one language. Raises AccountError, StoreUnavailable."""
        if not _LANGUAGE.match(identity.language):
            raise AccountError(f"{identity.language!r}: a language is written as nl, de, fr, es or en")
        if not identity.names:
            raise AccountError("an identity needs a name")
        kept = {name: value for name, value in asdict(identity).items() if name != "language"}

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await connection.execute(_IDENTITY, account_id, identity.language, orjson.dumps(kept).decode())
            await note(connection, account_id, by, AccountChangeKind.IDENTITY, {"language": identity.language} | kept)

        await self._changes.change(work)

    async def remove_identity(self, account_id: int, language: str, *, by: str = "", reason: str = "") -> None:
        """Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            statement = "delete from account_identity where account_id = $1 and language = $2 returning identity"
            if not await connection.fetchval(statement, account_id, language):
                raise AccountError(f"this account has no identity in {language!r}")
            await note(connection, account_id, by, AccountChangeKind.IDENTITY, {"removed": language, "reason": reason})

        await self._changes.change(work)

    async def add_source(self, account_id: int, name: str, origin: str, *, by: str = "") -> None:
        """Record where a list comes from. Changing it requires a new approval. Raises AccountError,
        StoreUnavailable."""
        name, origin = _text("a list's name", name), _text("a list's origin", origin)

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await connection.execute(_SOURCE, account_id, name, origin)
            await note(connection, account_id, by, AccountChangeKind.SOURCE, {"list": name, "origin": origin})

        await self._changes.change(work)

    async def approve_source(self, account_id: int, name: str, *, by: str) -> str:
        """A reviewer believes where a list comes from; its origin. Raises AccountError, StoreUnavailable."""

        async def work(connection: Connection) -> str:
            await lock_alive(connection, account_id)
            origin: str | None = await connection.fetchval(_APPROVE, account_id, name, by)
            if origin is None:
                raise AccountError(f"where the list {name!r} comes from was not told yet")
            await note(
                connection, account_id, by, AccountChangeKind.SOURCE, {"list": name, "approved": True, "origin": origin}
            )
            return origin

        return await self._changes.change(work)

    async def set_roles(self, account_id: int, roles: Iterable[Address], *, by: str = "", reason: str = "") -> None:
        """The role addresses that may get its transactional mail all the same. Raises AccountError,
        StoreUnavailable."""
        kept = sorted({role.key for role in roles})

        async def work(connection: Connection) -> None:
            await lock_alive(connection, account_id)
            await connection.execute("update account set role_exceptions = $2 where id = $1", account_id, kept)
            detail = {"role_exceptions": kept} | ({"reason": reason} if reason else {})
            await note(connection, account_id, by, AccountChangeKind.SETTING, detail)

        await self._changes.change(work)


def _check_setting(setting: Setting, value: Any) -> None:
    """Raises AccountError."""
    match setting:
        case Setting.BOUNCE_NOTIFICATIONS if value not in ("dsn", "event", "none"):
            raise AccountError(f"bounce notifications are `dsn`, `event` or `none`, not {value!r}")
        case Setting.QUOTA_DAY | Setting.QUOTA_MONTH if value is not None and not 0 <= value < 2**31:
            raise AccountError(f"a quota is a number of recipients from 0 on, not {value}")
        case Setting.WEIGHT if not 1 <= value <= MAX_WEIGHT:
            raise AccountError(
                f"a weight is a number from 1 to {MAX_WEIGHT}, not {value}; the usual one is {DEFAULT_WEIGHT}"
            )
        case Setting.MAX_PRIORITY if not -9 <= value <= 9:
            raise AccountError(f"a priority is a number from -9 to 9 (RFC 6710), not {value}; the usual one is 0")
        case Setting.PROFILE | Setting.CONTACT | Setting.POOL:
            _text(f"the {setting.value}", value)


def _text(what: str, text: str) -> str:
    """Raises AccountError for what is empty, too long, or could not be shown."""
    cleaned = sanitise(text.strip(), _LONGEST + 1)
    if not cleaned or len(cleaned) > _LONGEST:
        raise AccountError(f"{what}: 1 to {_LONGEST} characters, please")
    return cleaned
