"""Events for accounts, written by the transactions in which things happen.

It must never hold events that nobody will fetch: only those of accounts with a webhook are written.

*Limits.* An account that gets its first webhook sees what happens from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from mta.mail.identity import MessageId
from mta.store.database import Connection

_NOTE = """
insert into outbox (account_id, message_id, n, kind, data)
select $1, $2, $3, $4, $5 where exists (select from webhook where account_id = $1)"""


async def note(
    connection: Connection,
    account_id: int,
    kind: str,
    data: Mapping[str, Any],
    *,
    message_id: MessageId | None = None,
    n: int | None = None,
) -> None:
    """Tell the account's webhooks that something happened, if it has any. Within the caller's transaction."""
    await connection.execute(_NOTE, account_id, message_id, n, kind, orjson.dumps(data).decode())
