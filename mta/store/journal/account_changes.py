"""The history of an account: who changed what, when and why. Append-only.

Invariants: never contains a secret, or data that verifies one.

Limitations: ``by`` is the name given by the caller; the command line uses the user's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, TypeVar

import orjson

from mta.store.postgres.database import Connection
from mta.store.postgres.errors import ChangeRefused
from policy.accounts.account import AccountStatus

T = TypeVar("T")

CHANNEL = "accounts"


class AccountError(ChangeRefused):
    """Why a change to an account is refused; the text says how to fix it."""


class Changes(Protocol):
    """How changes to accounts are made: in one transaction, after which every process is told."""

    async def change(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T: ...

    @property
    def refresh(self) -> Callable[[], Awaitable[None]]: ...


class AccountChangeKind(Enum):
    """What was changed."""

    STATUS = "status"
    TERMS = "terms"
    IDENTITY = "identity"
    SOURCE = "source"
    DOMAIN = "domain"
    CREDENTIAL = "credential"
    NETWORK = "network"
    SETTING = "setting"
    MAILING = "mailing"
    LIST = "list"
    BREAKER = "breaker"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class AccountChange:
    """One line of the history."""

    at: datetime
    by: str
    kind: AccountChangeKind
    data: Mapping[str, Any]


async def lock(connection: Connection, account_id: int) -> AccountStatus:
    """Let nobody else change the account before this transaction ends. Raises AccountError if there is none."""
    found = await connection.fetchval("select status::text from account where id = $1 for update", account_id)
    if found is None:
        raise AccountError(f"there is no account {account_id}")
    return AccountStatus(found)


async def lock_alive(connection: Connection, account_id: int) -> None:
    """The same, for a change that makes no sense once an account is terminated. Raises AccountError."""
    if await lock(connection, account_id) is AccountStatus.TERMINATED:
        raise AccountError("the account is terminated, for good; make a new one")


async def note(
    connection: Connection, account_id: int, by: str, kind: AccountChangeKind, data: Mapping[str, Any]
) -> None:
    """Write a change down, in the transaction that makes it."""
    await connection.execute(
        "insert into account_change (account_id, by, kind, data) values ($1, $2, $3, $4)",
        account_id,
        by,
        kind.value,
        orjson.dumps(data).decode(),
    )


async def history(connection: Connection, account_id: int, limit: int) -> Sequence[AccountChange]:
    """The last ``limit`` changes, the oldest of them first."""
    rows = await connection.fetch(
        "select at, by, kind, data from account_change where account_id = $1 order by id desc limit $2",
        account_id,
        limit,
    )
    return [
        AccountChange(row["at"], row["by"], AccountChangeKind(row["kind"]), orjson.loads(row["data"]))
        for row in reversed(rows)
    ]
