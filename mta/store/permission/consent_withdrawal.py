"""What a person takes back, as entries of the accounts' ledgers and as the end of consents.

A withdrawal for everybody is entered in the ledger of each account that holds a consent of that address.

It must never append to a ledger whose head its transaction does not hold.

*Limits.* One chain an account: an unsubscription waits for an import of the same account that is being written.
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
    """``account_id``: whose ledger. ``address`` None: only its hash is known. ``topic``: ``*`` for every one."""

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
    """``entries``: number in the ledger, by place. ``overtaken``: places where a newer consent still holds.
    ``heads``: where the ledgers end now."""

    entries: Mapping[Place, int]
    overtaken: frozenset[Place]
    heads: Mapping[int, Head]


async def holders(connection: Connection, keys: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Which accounts hold a consent of each address."""
    if not keys:
        return []
    rows = await connection.fetch(_HOLDERS, keys)
    return sorted({(row["address_key"], row["account_id"]) for row in rows})


async def in_force(connection: Connection, places: Sequence[Place]) -> dict[Place, bool]:
    """Whether a consent is in force at each place, in whole or in part; without those of which nothing is recorded."""
    if not places:
        return {}
    rows = await connection.fetch(_IN_FORCE, *zip(*places, strict=True))
    return {(row["address_key"], row["account_id"], row["topic"]): row["in_force"] for row in rows}


async def withdraw(
    connection: Connection, heads: Mapping[int, Head], withdrawals: Sequence[Withdrawal], now: datetime
) -> Withdrawn:
    """Append the entries and end the consents. ``heads``: of all ledgers concerned, locked by the caller."""
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
