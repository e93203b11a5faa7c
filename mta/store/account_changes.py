"""The history of an account: who changed what, when and why. Append-only.

It must never hold a secret, or what verifies one.

*Limits.* ``by`` is the name that whoever made the change goes by; the command line takes the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import orjson

from mta.store.database import Connection


class Kind(Enum):
    """What was changed."""

    STANDING = "standing"
    TERMS = "terms"
    IDENTITY = "identity"
    SOURCE = "source"
    DOMAIN = "domain"
    CREDENTIAL = "credential"
    NETWORK = "network"
    SETTING = "setting"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history."""

    at: datetime
    by: str
    kind: Kind
    data: Mapping[str, Any]


async def note(connection: Connection, account_id: int, by: str, kind: Kind, data: Mapping[str, Any]) -> None:
    """Write a change down, in the transaction that makes it."""
    await connection.execute(
        "insert into account_change (account_id, by, kind, data) values ($1, $2, $3, $4)",
        account_id,
        by,
        kind.value,
        orjson.dumps(data).decode(),
    )


async def history(connection: Connection, account_id: int, limit: int) -> Sequence[Change]:
    """The last ``limit`` changes, the oldest of them first."""
    rows = await connection.fetch(
        "select at, by, kind, data from account_change where account_id = $1 order by id desc limit $2",
        account_id,
        limit,
    )
    return [Change(row["at"], row["by"], Kind(row["kind"]), orjson.loads(row["data"])) for row in reversed(rows)]
