"""The current state of consents: one row per address, account and topic, from which the rules read.

Of several consents for the same topic the row has the best: proved before unproved, then the newest. A consent that
took effect after a revocation ends the revocation; an older one never does. A withdrawal that applies to all accounts
is entered in the ledger of each account that has a consent for the address.

Invariants: a row is written only together with the ledger entry that it results from, and entries are appended only to
ledgers that the transaction has locked.

Limitations: older consents for the same topic are in the ledger only. There is one chain per account, so an
unsubscription waits for a running import of the same account.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from mta.mail.address import Address
from mta.store.permission import ledger
from mta.store.postgres.database import Connection
from policy.permission.consent import ACCEPTABLE, EVERY_TOPIC, Basis
from policy.permission.ledger import EntryKind, Head

_ACCEPTABLE = [basis.value for basis in ACCEPTABLE]

_PUT = """
insert into consent (address_key, account_id, topic, basis, given_at, confirmed_at, missing, facts, entry)
select one.address_key, $1, one.topic, one.basis, one.given_at, one.confirmed_at,
    string_to_array(one.missing, ','), one.facts::jsonb, one.entry
from unnest($2::bytea[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[],
    $9::bigint[]) as one (address_key, topic, basis, given_at, confirmed_at, missing, facts, entry)
on conflict (address_key, account_id, topic) do update set
    basis = excluded.basis, given_at = excluded.given_at, confirmed_at = excluded.confirmed_at,
    missing = excluded.missing, facts = excluded.facts, entry = excluded.entry,
    revoked_at = case when coalesce(excluded.confirmed_at, excluded.given_at) <= consent.revoked_at
        then consent.revoked_at end
where case
    when consent.revoked_at is not null and coalesce(excluded.confirmed_at, excluded.given_at) > consent.revoked_at
    then true
    else (excluded.missing = '{}' and excluded.basis = any($10),
          coalesce(excluded.confirmed_at, excluded.given_at))
      >= (consent.missing = '{}' and consent.basis = any($10), coalesce(consent.confirmed_at, consent.given_at))
end"""

_REVOKE = f"""
update consent c set revoked_at = one.at
from unnest($2::bytea[], $3::text[], $4::timestamptz[]) as one (address_key, topic, at)
where c.address_key = one.address_key and c.account_id = $1
    and (c.topic = one.topic or one.topic = '{EVERY_TOPIC}')
    and c.revoked_at is null and coalesce(c.confirmed_at, c.given_at) <= one.at"""  # noqa: S608 - our own text

# A revocation is kept even if there was no such consent: an older consent may be imported later.
_OBJECT = f"""
insert into consent (address_key, account_id, topic, basis, given_at, revoked_at, entry)
select one.address_key, $1, one.topic, '{Basis.OBJECTION.value}', one.at, one.at, one.entry
from unnest($2::bytea[], $3::text[], $4::timestamptz[], $5::bigint[]) as one (address_key, topic, at, entry)
on conflict (address_key, account_id, topic) do update set
    revoked_at = greatest(consent.revoked_at, excluded.revoked_at)
where coalesce(consent.confirmed_at, consent.given_at) <= excluded.revoked_at"""  # noqa: S608 - our own text

# Revocations that are older than a consent for the topic, or for anything within it.
_OVERTAKEN = f"""
select distinct one.address_key, one.topic
from unnest($2::bytea[], $3::text[], $4::timestamptz[]) as one (address_key, topic, at)
join consent c on c.address_key = one.address_key and c.account_id = $1
    and (c.topic in (one.topic, '{EVERY_TOPIC}') or one.topic = '{EVERY_TOPIC}')
    and c.revoked_at is null and coalesce(c.confirmed_at, c.given_at) > one.at"""  # noqa: S608 - our own text

# Updates only these columns; the others are written by deliveries.
_RENEW = """
insert into recipient_activity (address_key, account_id, {column}) values ($1, $2, $3)
on conflict (address_key, account_id) do update set {column} = greatest(recipient_activity.{column},
    excluded.{column})"""


@dataclass(frozen=True, slots=True)
class ConsentRow:
    """A consent for one topic, from one entry."""

    address_key: bytes
    topic: str
    basis: Basis
    given_at: datetime
    confirmed_at: datetime | None
    missing: tuple[str, ...]
    facts: dict[str, str]
    entry: int

    @property
    def rank(self) -> tuple[bool, datetime, int]:
        """Return the sort key that decides which consent for a topic is kept; the same order as in ``_PUT``."""
        return not self.missing and self.basis in ACCEPTABLE, self.confirmed_at or self.given_at, self.entry


@dataclass(frozen=True, slots=True)
class RevokedTopic:
    """The revocation of a topic, or of all (``*``)."""

    address_key: bytes
    topic: str
    at: datetime
    entry: int


async def put(connection: Connection, account_id: int, rows: Iterable[ConsentRow]) -> None:
    """Store these consents, except where a better one is stored already."""
    best: dict[tuple[bytes, str], ConsentRow] = {}
    for row in rows:
        place = (row.address_key, row.topic)
        if place not in best or row.rank >= best[place].rank:
            best[place] = row
    kept = [best[place] for place in sorted(best)]  # sorted, to avoid deadlocks
    if not kept:
        return
    await connection.execute(
        _PUT,
        account_id,
        [row.address_key for row in kept],
        [row.topic for row in kept],
        [row.basis.value for row in kept],
        [row.given_at for row in kept],
        [row.confirmed_at for row in kept],
        [",".join(row.missing) for row in kept],
        [orjson.dumps(row.facts).decode() for row in kept],
        [row.entry for row in kept],
        _ACCEPTABLE,
    )


async def revoke(connection: Connection, account_id: int, revoked: Sequence[RevokedTopic]) -> set[tuple[bytes, str]]:
    """Revoke consents; return each (address, topic) where a newer consent is still in force."""
    newest: dict[tuple[bytes, str], RevokedTopic] = {}
    for each in revoked:
        place = (each.address_key, each.topic)
        if place not in newest or each.at >= newest[place].at:
            newest[place] = each
    kept = [newest[place] for place in sorted(newest)]
    keys, topics, moments = (
        [each.address_key for each in kept],
        [each.topic for each in kept],
        [each.at for each in kept],
    )
    await connection.execute(_REVOKE, account_id, keys, topics, moments)
    await connection.execute(_OBJECT, account_id, keys, topics, moments, [each.entry for each in kept])
    overtaken = await connection.fetch(_OVERTAKEN, account_id, keys, topics, moments)
    return {(row["address_key"], row["topic"]) for row in overtaken}


async def renew(connection: Connection, account_id: int, address_key: bytes, column: str, at: datetime) -> None:
    """Record a contact that restarts the expiry of consents. ``column`` is inserted into the SQL: constants only."""
    await connection.execute(_RENEW.format(column=column), address_key, account_id, at)


_HOLDERS = """
select address_key, account_id from consent where address_key = any($1::bytea[]) and revoked_at is null"""

_IN_FORCE = """
select c.address_key, c.account_id, one.topic, bool_or(c.revoked_at is null) as in_force
from unnest($1::bytea[], $2::bigint[], $3::text[]) as one (address_key, account_id, topic)
join consent c on c.address_key = one.address_key and c.account_id = one.account_id
    and (c.topic = one.topic or one.topic = '*')
group by c.address_key, c.account_id, one.topic"""

Place = tuple[bytes, int, str]  # address_key, account_id, topic of the consent


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A withdrawal in the ledger of one account. ``address``: None if only its hash is known. ``topic``: ``*`` for
    all."""

    address_key: bytes
    account_id: int
    topic: str
    at: datetime
    by: str
    reason: str
    address: Address | None = None

    @property
    def place(self) -> Place:
        return self.address_key, self.account_id, self.topic


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The result of withdrawals. ``entries``: ledger numbers, by place. ``overtaken``: places where a newer consent
    is still in force. ``heads``: the new heads of the ledgers."""

    entries: Mapping[Place, int]
    overtaken: frozenset[Place]
    heads: Mapping[int, Head]


async def holders(connection: Connection, keys: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Return each (address key, account) with a consent in force."""
    if not keys:
        return []
    rows = await connection.fetch(_HOLDERS, keys)
    return sorted({(row["address_key"], row["account_id"]) for row in rows})


async def in_force(connection: Connection, places: Sequence[Place]) -> dict[Place, bool]:
    """Return whether a consent is in force, at least in part, at each place; places without any record are left out."""
    if not places:
        return {}
    rows = await connection.fetch(_IN_FORCE, *zip(*places, strict=True))
    return {(row["address_key"], row["account_id"], row["topic"]): row["in_force"] for row in rows}


async def withdraw(
    connection: Connection, heads: Mapping[int, Head], withdrawals: Sequence[Withdrawal], now: datetime
) -> Withdrawn:
    """Append the entries and end the consents. ``heads``: those of all ledgers concerned, locked by the caller."""
    entries: dict[Place, int] = {}
    overtaken: set[Place] = set()
    after = dict(heads)
    for account_id in sorted({each.account_id for each in withdrawals}):
        own = [each for each in withdrawals if each.account_id == account_id]
        head = after[account_id]
        after[account_id] = await ledger.append(connection, account_id, head, [_draft(each) for each in own], now)
        revoked = [
            RevokedTopic(each.address_key, each.topic, each.at, head.number + n) for n, each in enumerate(own, 1)
        ]
        entries |= {each.place: one.entry for each, one in zip(own, revoked, strict=True)}
        newer = await revoke(connection, account_id, revoked)
        overtaken |= {(key, account_id, topic) for key, topic in newer}
    return Withdrawn(entries, frozenset(overtaken), after)


def _draft(withdrawal: Withdrawal) -> ledger.Draft:
    return ledger.new_entry(
        EntryKind.REVOKED,
        withdrawal.address_key,
        withdrawal.address,
        withdrawal.by,
        topic=withdrawal.topic,
        revoked_at=withdrawal.at.astimezone(UTC),
        reason=withdrawal.reason,
    )
