"""Sign-up forms and what people asked for with them: double opt-in, from the form to the ledger.

    ask ▶ (a job) claim ▶ the mail is queued ▶ sent ▶ confirm, by the link in it ▶ the consent is recorded ▶ recorded

A link carries the number of the request and a keyed hash of it; the request itself stays in the database.

Invariants: nothing is in the ledger before the person confirmed. A request is confirmed once: a second time returns the
first. What is confirmed is recorded, by the job if the process that was told died. A mail is queued at least once, and
no address gets more than its share, whoever asks.

Limitations: if the process dies between queueing the mail and noting it, the mail is sent twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import ip_network
from typing import Any

import asyncpg
import orjson

from mta.mail.address import Address
from mta.mail.message import IPAddress
from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountError
from mta.store.permission.consents import Consents
from mta.store.permission.ledger import Given
from mta.store.postgres.database import Database
from mta.store.postgres.secrets import Secrets
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence
from policy.permission.sign_up_form import SignUpForm

VALID = timedelta(days=3)  # a link
KEPT = timedelta(days=30)  # a request, so that an old link is explained; then it is deleted
CLAIMED = timedelta(minutes=5)  # for composing and queueing a mail
PER_DAY = 3  # mails a day to one address from one form
PER_ADDRESS = 6  # mails a day to one address from all forms
PER_NETWORK = 30  # requests an hour from one client (IPv6: its /64)
AGENT = 120  # characters of the User-Agent kept

_ID, _TAG = 8, 16  # octets of a link's number and keyed hash

_PUT_FORM = """
insert into sign_up_form (id, account_id, name, form, created_by) values ($1, $2, $3, $4, $5)
on conflict (account_id, name) do update
set form = excluded.form, created_by = excluded.created_by, closed_at = null, closed_by = null returning id"""

_FORM_COLUMNS = "f.id, f.account_id, a.name as account, f.form, f.created_at, f.created_by, f.closed_at, f.closed_by"
_FORM = f"select {_FORM_COLUMNS} from sign_up_form f join account a on a.id = f.account_id where f.id = $1"  # noqa: S608 - our own text
_FORMS = f"""
select {_FORM_COLUMNS}, counted.asked, counted.confirmed
from sign_up_form f join account a on a.id = f.account_id cross join lateral (
    select count(*) as asked, count(*) filter (where confirmed_at is not null) as confirmed
    from sign_up s where s.form_id = f.id
) counted
where ($1::bigint is null or f.account_id = $1) and f.id > $2 order by f.id limit $3"""  # noqa: S608 - our own text

_CLOSE = """
update sign_up_form set closed_at = now(), closed_by = $3 where account_id = $1 and name = $2 and closed_at is null
returning id"""

_COUNTS = """
select
    count(*) filter (where address_key = $2 and form_id = $1 and at > now() - interval '1 day') as by_form,
    count(*) filter (where address_key = $2 and at > now() - interval '1 day') as by_address,
    count(*) filter (where network = $3 and at > now() - interval '1 hour') as by_network
from sign_up
where address_key = $2 and at > now() - interval '1 day' or network = $3 and at > now() - interval '1 hour'"""

_ASK = """
insert into sign_up (form_id, account_id, address, address_key, client, network, asked)
values ($1, $2, $3, $4, $5, $6, $7)"""

_CLAIM = """
update sign_up set claimed_at = now() where id = any(array(
    select id from sign_up
    where sent_at is null and at > now() - $2::interval and coalesce(claimed_at < now() - $3::interval, true)
    order by id limit $1 for update skip locked
)) returning *"""

_UNRECORDED = """
select * from sign_up where confirmed_at < now() - interval '1 minute' and recorded_at is null order by id limit $1"""

_CONFIRM = """
update sign_up set confirmed_at = coalesce(confirmed_at, now()), confirm_client = coalesce(confirm_client, $2)
where id = $1 and (confirmed_at is not null or at > now() - $3::interval) returning *"""

SWEEP = """
delete from sign_up where ctid = any(array(
    select ctid from sign_up where at < $1 and (confirmed_at is null or recorded_at is not null) order by at limit $2
))"""


class Limit(Enum):
    """Which limit a request is above."""

    FORM = "form"
    ADDRESS = "address"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A form. ``asked``, ``confirmed``: requests of the last ``KEPT``; counted in lists only, else 0."""

    id: str
    account_id: int
    account: str
    form: SignUpForm
    created_at: datetime
    created_by: str
    closed_at: datetime | None
    closed_by: str | None
    asked: int = 0
    confirmed: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person saw and chose. ``page``: where the form was; ``agent``: the User-Agent."""

    topics: tuple[str, ...]
    language: str
    statement: str
    version: str
    sponsors: tuple[str, ...]
    page: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SignUp:
    """A request. ``confirmed_at`` None: not yet."""

    id: int
    form_id: str
    account_id: int
    address: Address
    client: str
    asked: Asked
    at: datetime
    confirmed_at: datetime | None
    confirm_client: str | None
    recorded_at: datetime | None

    @property
    def valid_until(self) -> datetime:
        return self.at + VALID

    @property
    def consent(self) -> Given:
        """What is recorded in the ledger once it is confirmed."""
        asked = self.asked
        evidence = Evidence(
            source_url=asked.page,
            ip=self.client,
            confirm_ip=self.confirm_client or "",
            statement=asked.statement,
            statement_version=asked.version,
            language=asked.language,
            preticked=False,
            sponsors=asked.sponsors,
        )
        basis = Basis.CO_REGISTRATION if asked.sponsors else Basis.DOUBLE_OPT_IN
        return Given(self.address, asked.topics, basis, self.at, self.confirmed_at, evidence)


class SignUps:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets, consents: Consents) -> None:
        self._database, self._secrets, self._consents = database, secrets, consents
        self._key = secrets.derive("sign-up links")

    # forms

    async def put_form(self, account_id: int, form: SignUpForm, *, by: str) -> str:
        """Make a form, or change the one of the same name; return its id. Raises StoreUnavailable."""
        written = orjson.dumps(form.model_dump(mode="json")).decode()
        async with self._database.session() as connection:
            id_: str = await connection.fetchval(_PUT_FORM, random.token_hex(11), account_id, form.name, written, by)
        return id_

    async def close_form(self, account_id: int, name: str, *, by: str) -> None:
        """Take no more requests. Raises AccountError if there is no open form of this name, StoreUnavailable."""
        async with self._database.session() as connection:
            if await connection.fetchval(_CLOSE, account_id, name, by) is None:
                raise AccountError(f"there is no open form {name!r}")

    async def form(self, id_: str) -> KeptForm | None:
        """Return a form by its id, closed or not. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_FORM, id_)
        return _form(row) if row else None

    async def forms(self, account_id: int | None = None, *, after: str = "", limit: int = 1000) -> list[KeptForm]:
        """Return forms in the order of their ids. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_form(row) for row in await connection.fetch(_FORMS, account_id, after, limit)]

    # requests

    async def ask(self, form: KeptForm, address: Address, client: IPAddress, asked: Asked) -> Limit | None:
        """Keep a request; return the limit that it is above, then it is not kept. Raises StoreUnavailable."""
        key, network = self._secrets.address_key(address), _network(client)
        async with self._database.session() as connection, connection.transaction():
            # Of requests for one address at once, each sees the ones before.
            await connection.execute("select pg_advisory_xact_lock($1)", int.from_bytes(key[:8], signed=True))
            counts = await connection.fetchrow(_COUNTS, form.id, key, network)
            assert counts is not None
            for limit, count, most in (
                (Limit.FORM, counts["by_form"], PER_DAY),
                (Limit.ADDRESS, counts["by_address"], PER_ADDRESS),
                (Limit.NETWORK, counts["by_network"], PER_NETWORK),
            ):
                if count >= most:
                    return limit
            await connection.execute(
                _ASK, form.id, form.account_id, str(address), key, str(client), network, _written(asked)
            )
        return None

    async def claim(self, limit: int) -> list[SignUp]:
        """Return requests whose mail is to be queued now, by the caller alone. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_sign_up(row) for row in await connection.fetch(_CLAIM, limit, VALID, CLAIMED)]

    async def sent(self, done: Sequence[SignUp]) -> None:
        """Note that their mail is queued, or cannot be. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(
                "update sign_up set sent_at = now() where id = any($1::bigint[])", [each.id for each in done]
            )

    async def read(self, id_: int) -> SignUp | None:
        """Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow("select * from sign_up where id = $1", id_)
        return _sign_up(row) if row else None

    async def confirm(self, id_: int, client: IPAddress) -> SignUp | None:
        """Confirm a request; the first confirmation counts. None if it is gone or too old. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_CONFIRM, id_, str(client), VALID)
        return _sign_up(row) if row else None

    async def unrecorded(self, limit: int) -> list[SignUp]:
        """Return what was confirmed a minute ago and is not in the ledger yet. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_sign_up(row) for row in await connection.fetch(_UNRECORDED, limit)]

    async def record(self, confirmed: SignUp) -> None:
        """Put a confirmed request into the account's ledger; it ends an older withdrawal. Raises StoreUnavailable."""
        by = f"sign-up form {confirmed.form_id}"
        await self._consents.record(confirmed.account_id, [confirmed.consent], by=by, lift=True)
        async with self._database.session() as connection:
            await connection.execute("update sign_up set recorded_at = now() where id = $1", confirmed.id)

    # links

    def token(self, id_: int) -> str:
        """Return the token for the link of a request: 32 letters, digits, ``-`` and ``_``."""
        number = id_.to_bytes(_ID)
        return base64.urlsafe_b64encode(number + self._tag(number)).decode()

    def id_of(self, token: str) -> int | None:
        """Return the request that a token is for; None if we did not make it."""
        try:
            octets = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        number, tag = octets[:_ID], octets[_ID:]
        return int.from_bytes(number) if hmac.compare_digest(tag, self._tag(number)) else None

    def _tag(self, number: bytes) -> bytes:
        return hashlib.blake2b(number, digest_size=_TAG, key=self._key).digest()


def _network(client: IPAddress) -> str:
    return str(client) if client.version == 4 else str(ip_network((int(client) >> 64 << 64, 64)))


def _written(asked: Asked) -> str:
    fields = {name: getattr(asked, name) for name in Asked.__slots__}
    return orjson.dumps({**fields, "agent": sanitise(asked.agent, AGENT)}).decode()


def _form(row: asyncpg.Record) -> KeptForm:
    return KeptForm(**{**row, "form": SignUpForm.model_validate(orjson.loads(row["form"]))})


def _sign_up(row: asyncpg.Record) -> SignUp:
    asked: dict[str, Any] = orjson.loads(row["asked"])
    return SignUp(
        row["id"],
        row["form_id"],
        row["account_id"],
        Address.parse(row["address"]),
        row["client"],
        Asked(**{**asked, "topics": tuple(asked["topics"]), "sponsors": tuple(asked["sponsors"])}),
        row["at"],
        row["confirmed_at"],
        row["confirm_client"],
        row["recorded_at"],
    )
