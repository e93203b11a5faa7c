"""The results of requests that a client may repeat (Idempotency-Key), so that a repetition changes nothing.

A request is claimed by one process; a repetition gets the stored result, or is told to wait while it runs. A claim
whose process died is taken over after TAKEN_OVER_AFTER, one that was freed without a result at once.

Invariants: results are sealed, because they can show a secret.

Limitations: what was done by a process that died between its commit and the stored result, or was lost in an outage, is
done again by the repetition, except for messages, which are found again (``messages_of``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from mta.mail.identity import MessageId, first_id_at
from mta.store.postgres.database import Database
from mta.store.postgres.secrets import Secrets

TAKEN_OVER_AFTER = "2 minutes"
KEPT = "3 days"
CLOCKS = timedelta(minutes=1)  # that hosts, whose clocks are in message ids, and the database may differ

_CLAIM = f"""
insert into idempotency as i (token_id, key, request) values ($1, $2, $3)
on conflict (token_id, key) do update set begun_at = now()
    where i.status is null and i.request = excluded.request and i.begun_at < now() - interval '{TAKEN_OVER_AFTER}'
returning case when xmax <> 0 then first_at end as first_at"""  # noqa: S608 - our own text

_FIND = "select request, begun_at, status, headers, body from idempotency where token_id = $1 and key = $2"
_END = "update idempotency set status = $3, headers = $4, body = $5 where token_id = $1 and key = $2"
_FREE = f"""
update idempotency set begun_at = now() - interval '{TAKEN_OVER_AFTER}'
where token_id = $1 and key = $2 and status is null"""  # noqa: S608 - our own text
_SWEEP = f"""
delete from idempotency where ctid = any(array(
    select ctid from idempotency where begun_at < now() - interval '{KEPT}' limit 100
))"""  # noqa: S608 - our own text

_MESSAGES = """
select distinct on (session) record ->> 'session' as session, id from message
where id >= $1 and account_id = $2 and record ->> 'session' = any($3::text[]) order by session, id"""


@dataclass(frozen=True, slots=True)
class RequestClaimed:
    """This process is to run the request. ``first_at``: when it was made for the first time, if it may have been run,
    whole or in part, without a result."""

    first_at: datetime | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The request was made before. ``status`` None: it still runs. ``is_same``: the request is the one of then."""

    is_same: bool
    begun_at: datetime
    status: int | None
    headers: Sequence[tuple[str, str]]
    body: bytes


class Idempotency:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    async def claim(self, token_id: int, key: str, request: bytes) -> RequestClaimed | Recorded:
        """Claim a request, or return what is recorded of it. ``request``: its digest. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_CLAIM, token_id, key, request)
            if row is not None:
                await connection.execute(_SWEEP)
                return RequestClaimed(row["first_at"])
            found = await connection.fetchrow(_FIND, token_id, key)
        assert found is not None, "rows live for days"
        headers = [(name, value) for name, value in orjson.loads(found["headers"] or "[]")]
        is_same = found["request"] == request
        body = self._secrets.unseal(found["body"]) if found["body"] else b""
        return Recorded(is_same, found["begun_at"], found["status"], headers, body)

    async def end(self, token_id: int, key: str, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Store the result. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            sealed = self._secrets.seal(body)
            await connection.execute(_END, token_id, key, status, orjson.dumps(headers).decode(), sealed)

    async def free(self, token_id: int, key: str) -> None:
        """Let the repetition take the claim over at once. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FREE, token_id, key)

    async def messages_of(self, account_id: int, sessions: Sequence[str], since: datetime) -> Mapping[str, MessageId]:
        """Return the first message that was committed with each of the sessions. Raises StoreUnavailable."""
        first = first_id_at(since - CLOCKS)
        async with self._database.session() as connection:
            rows = await connection.fetch(_MESSAGES, first, account_id, sessions)
        return {row["session"]: row["id"] for row in rows}
