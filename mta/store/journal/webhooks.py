"""Webhooks: where an account's events are sent, how far each has come, and which are due.

The cursor is the outbox id up to which everything was accepted with a 2xx, or was not requested. A sender holds the row
by an expiring lease and moves the cursor only while it holds it: one batch is under way at a time, and after a crash
another sender continues at the same place.

Invariants: a secret is shown only once, when it is made; the cursor moves forward only after a 2xx.

Limitations: a request may have succeeded although the sender's lease expired: its events are then sent again, with the
same ids.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountChangeKind, lock_alive, note
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import ChangeRefused
from mta.store.postgres.secrets import Secrets

MOST = 20  # webhooks of one account
OVERLAP = "1 day"  # for so long the secret before the last one signs, too
_ERROR = 300  # characters kept of what went wrong

_ADD = """
insert into webhook (account_id, url, kinds, sealed, cursor, paused_at)
select $1, $2, $3, $4, case when is_called then last_value else 0 end, case when $5 then now() end from outbox_id_seq
returning id"""

_COLUMNS = """
select
    w.*, a.name,
    (select count(*) from (
        select from outbox o where o.account_id = w.account_id and o.id > w.cursor
            and (cardinality(w.kinds) = 0 or o.kind = any(w.kinds)) limit 10001
    ) one) as waiting,
    (select min(at) from outbox o where o.account_id = w.account_id and o.id > w.cursor) as oldest
from webhook w join account a on a.id = w.account_id"""

_ONE = f"{_COLUMNS} where w.id = $1"
_ALL = f"{_COLUMNS} where $1::bigint is null or w.account_id = $1 order by w.id"

_TURN = """
id, account_id, (select name from account where id = account_id) as name, url, kinds, sealed,
case when before_until > now() then sealed_before end as sealed_before, cursor, failures"""

_LEASE = f"""
update webhook set lease = $1, lease_until = now() + make_interval(secs => $2)
where id = any(array(
    select id from webhook w
    where paused_at is null and due_at <= now() and coalesce(lease_until <= now(), true)
        and exists (select from outbox o where o.account_id = w.account_id and o.id > w.cursor and o.id <= $3)
    order by due_at limit $4 for update skip locked
))
returning {_TURN}"""  # noqa: S608 - our own text

# An operator may have moved the cursor back meanwhile: then the lease was taken away, and this changes nothing.
_TAKEN = f"""
update webhook
set cursor = $3, failures = 0, last_error = null, lease_until = now() + make_interval(secs => $4),
    last_success_at = case when $5 then now() else last_success_at end
where id = $1 and lease = $2
returning {_TURN}, paused_at"""  # noqa: S608 - our own text

_FAILED = """
update webhook
set failures = failures + 1, last_error = $3, due_at = now() + make_interval(secs => $4), lease = null,
    lease_until = null
where id = $1 and lease = $2 returning failures, account_id, url"""

_GIVE_BACK = "update webhook set lease = null, lease_until = null where id = $1 and lease = $2"

_TELL = "insert into event (kind, data) values ('webhook_failing', $1)"

_PRESSURE = """
select
    count(*) filter (where failures >= $1) as failing,
    coalesce(max(extract(epoch from now() - oldest.at)), 0)::float8 as lag
from webhook w
left join lateral (
    select at from outbox o where o.account_id = w.account_id and o.id > w.cursor order by o.id limit 1
) oldest on true
where paused_at is null"""


class WebhookError(ChangeRefused):
    """Why a change to a webhook is refused; the text says how to fix it."""


@dataclass(frozen=True, slots=True)
class WebhookTurn:
    """A webhook that is ours to serve. ``keys``: the secrets to sign with, the newest first."""

    id: int
    account_id: int
    account: str
    url: str
    kinds: tuple[str, ...]
    cursor: int
    failures: int
    keys: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class WebhookDetails:
    """A webhook as operators see it. ``waiting``: events not taken yet, counted up to 10,001;
    ``oldest``: since when."""

    id: int
    account_id: int
    account: str
    url: str
    kinds: tuple[str, ...]
    cursor: int
    failures: int
    last_error: str | None
    due_at: datetime
    last_success_at: datetime | None
    paused_at: datetime | None
    created_at: datetime
    waiting: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Pressure:
    """``failing``: webhooks with so many failures in a row; ``lag``: age in seconds of the oldest event not taken."""

    failing: int
    lag: float


class WebhookStore:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets
        self._lease = random.randbits(62)  # of this process

    # for operators; each change is kept in the account's history

    async def add(
        self, account_id: int, url: str, kinds: Sequence[str] = (), *, by: str, paused: bool = False
    ) -> tuple[int, str]:
        """A new webhook for what happens from now on; its number and its secret, which nobody sees again.

        ``url`` was checked (``mta.http_client``). Raises WebhookError, AccountError, StoreUnavailable.
        """
        secret = _new_secret()

        async def work(connection: Connection) -> int:
            await lock_alive(connection, account_id)
            if await connection.fetchval("select count(*) from webhook where account_id = $1", account_id) >= MOST:
                raise WebhookError(f"an account has {MOST} webhooks at most: remove one first")
            sealed = self._secrets.seal(secret.encode())
            number: int = await connection.fetchval(_ADD, account_id, url, list(kinds), sealed, paused)
            await note(
                connection,
                account_id,
                by,
                AccountChangeKind.WEBHOOK,
                {"added": number, "url": url, "kinds": list(kinds)},
            )
            return number

        return await self._database.retried(work), secret

    async def find(self, number: int) -> WebhookDetails:
        """Raises WebhookError, StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_ONE, number)
        if row is None:
            raise WebhookError(f"there is no webhook {number}")
        return _details(row)

    async def list(self, account_id: int | None = None) -> Sequence[WebhookDetails]:
        """Those of one account, or all. Raises StoreUnavailable."""
        async with self._database.session(30) as connection:
            return [_details(row) for row in await connection.fetch(_ALL, account_id)]

    async def pause(self, number: int, *, by: str) -> None:
        """Send nothing until it is resumed; events are kept. Raises WebhookError, StoreUnavailable."""
        await self._change(number, "paused_at = coalesce(paused_at, now())", (), by, "paused")

    async def resume(self, number: int, *, by: str) -> None:
        """Go on where it was, now. Raises WebhookError, StoreUnavailable."""
        await self._change(number, "paused_at = null, failures = 0, due_at = now()", (), by, "resumed")

    async def rotate(self, number: int, *, by: str) -> str:
        """A new secret; for a day both sign. Raises WebhookError, StoreUnavailable."""
        secret = _new_secret()
        change = f"sealed_before = sealed, before_until = now() + interval '{OVERLAP}', sealed = $2"
        await self._change(number, change, (self._secrets.seal(secret.encode()),), by, "rotated")
        return secret

    async def replay(self, number: int, after: int, *, by: str) -> None:
        """Send what is behind the id ``after`` again. Raises WebhookError (that is no step back), StoreUnavailable."""
        known = await self.find(number)
        if after > known.cursor:
            raise WebhookError(f"webhook {number} has yet to take event {known.cursor + 1}: a replay only goes back")
        change = "cursor = least(cursor, $2), failures = 0, due_at = now(), lease = null, lease_until = null"
        await self._change(number, change, (max(0, after),), by, "replayed", after=after)

    async def remove(self, number: int, *, by: str, reason: str = "") -> None:
        """Raises WebhookError, StoreUnavailable."""

        async def work(connection: Connection) -> None:
            row = await connection.fetchrow("delete from webhook where id = $1 returning account_id, url", number)
            if row is None:
                raise WebhookError(f"there is no webhook {number}")
            told = {"removed": number, "url": row["url"], "reason": reason}
            await note(connection, row["account_id"], by, AccountChangeKind.WEBHOOK, told)

        await self._database.retried(work)

    async def turn(self, number: int) -> WebhookTurn:
        """The webhook as its sender sees it, without a lease. Raises WebhookError, SecretError, StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(f"select {_TURN} from webhook where id = $1", number)  # noqa: S608
        if row is None:
            raise WebhookError(f"there is no webhook {number}")
        return self._turn(row)

    async def _change(self, number: int, change: str, values: Sequence[Any], by: str, what: str, **more: Any) -> None:
        async def work(connection: Connection) -> None:
            statement = f"update webhook set {change} where id = $1 returning account_id"  # noqa: S608 - our own text
            account_id = await connection.fetchval(statement, number, *values)
            if account_id is None:
                raise WebhookError(f"there is no webhook {number}")
            await note(connection, account_id, by, AccountChangeKind.WEBHOOK, {what: number} | more)

        await self._database.retried(work)

    # for the sender

    async def lease(self, upto: int, most: int, seconds: float) -> Sequence[WebhookTurn]:
        """Webhooks that are due and have events up to the id ``upto``, ours for so long.

        Raises StoreUnavailable; SecretError if the secret file is not the one they were sealed under.
        """
        async with self._database.session() as connection:
            rows = await connection.fetch(_LEASE, self._lease, seconds, upto, most)
        return [self._turn(row) for row in rows]

    async def taken(self, number: int, cursor: int, seconds: float, *, sent: bool) -> WebhookTurn | None:
        """Everything up to ``cursor`` was taken (``sent``: by a request, not only skipped). The next turn; None if it
        is not ours any more, or paused. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_TAKEN, number, self._lease, cursor, seconds, sent)
        return self._turn(row) if row is not None and row["paused_at"] is None else None

    async def failed(self, number: int, why: str, wait: float, alert_after: int) -> int:
        """Not taken: to be tried again after ``wait`` seconds. How many failures in a row that makes; at the
        ``alert_after``-th it becomes an event. 0: it was not ours any more. Raises StoreUnavailable."""
        why = sanitise(" ".join(why.split()), _ERROR)

        async def work(connection: Connection) -> int:
            row = await connection.fetchrow(_FAILED, number, self._lease, why, wait)
            if row is None:
                return 0
            if row["failures"] == alert_after:
                told = {"account_id": row["account_id"], "webhook": number, "url": row["url"], "error": why}
                await connection.execute(_TELL, orjson.dumps(told).decode())
            return int(row["failures"])

        return await self._database.retried(work)

    async def give_back(self, number: int) -> None:
        """Let others have it. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_GIVE_BACK, number, self._lease)

    async def pressure(self, alert_after: int) -> Pressure:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_PRESSURE, alert_after)
        assert row is not None
        return Pressure(row["failing"], row["lag"])

    def _turn(self, row: Any) -> WebhookTurn:
        sealed = (row["sealed"], row["sealed_before"])
        keys = tuple(self._secrets.unseal(each).decode() for each in sealed if each is not None)
        return WebhookTurn(
            id=row["id"],
            account_id=row["account_id"],
            account=row["name"],
            url=row["url"],
            kinds=tuple(row["kinds"]),
            cursor=row["cursor"],
            failures=row["failures"],
            keys=keys,
        )


def _new_secret() -> str:
    return f"whsec_{random.token_urlsafe(32)}"


def _details(row: Any) -> WebhookDetails:
    return WebhookDetails(
        id=row["id"],
        account_id=row["account_id"],
        account=row["name"],
        url=row["url"],
        kinds=tuple(row["kinds"]),
        cursor=row["cursor"],
        failures=row["failures"],
        last_error=row["last_error"],
        due_at=row["due_at"],
        last_success_at=row["last_success_at"],
        paused_at=row["paused_at"],
        created_at=row["created_at"],
        waiting=row["waiting"],
        oldest=row["oldest"],
    )
