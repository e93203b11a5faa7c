"""Withdraw consents: append the entries to the ledgers and end the consents.

A withdrawal that applies to all accounts is entered in the ledger of each account that has a consent for the address.

Invariants: entries are appended only to ledgers that the transaction has locked.

Limitations: there is one chain per account, so an unsubscription waits for a running import of the same account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mta.mail.address import Address
from mta.store.permission import consent_entries, consent_rows, ledger
from mta.store.permission.consent_rows import RevokedTopic
from mta.store.postgres.database import Connection
from policy.permission.ledger import EntryKind, Head

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
        newer = await consent_rows.revoke(connection, account_id, revoked)
        overtaken |= {(key, account_id, topic) for key, topic in newer}
    return Withdrawn(entries, frozenset(overtaken), after)


def _draft(withdrawal: Withdrawal) -> ledger.Draft:
    return consent_entries.entry(
        EntryKind.REVOKED,
        withdrawal.address_key,
        withdrawal.address,
        withdrawal.by,
        topic=withdrawal.topic,
        revoked_at=withdrawal.at.astimezone(UTC),
        reason=withdrawal.reason,
    )
