"""Activity between an account and an address: marketing mail accepted for it recently, and delivered to it.

The frequency rule counts acceptances; a delivery renews a consent. Both are written by the statements that enqueue
messages and record outcomes, so they are consistent with those and cost no round trip of their own.

Invariants: two such statements never deadlock: rows are written in the order of their keys.

Limitations: only the newest KEPT acceptances are kept. A message removed after a lost connection stays counted.
Deliveries are recorded by the day: one less than a day old is not written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mta.mail.address import Address
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets

KEPT = 30

Contacted = tuple[bytes, int, datetime]  # address_key, account_id, at

# To be put behind a part ``arrived (address_key, account_id, at)`` of the same statement.
ACCEPTED = f"""
insert into recipient_activity as c (address_key, account_id, accepted)
select address_key, account_id, (array_agg(at order by at))[greatest(1, count(*)::int - {KEPT - 1}) :] from arrived
group by address_key, account_id order by address_key, account_id
on conflict (address_key, account_id) do update
set accepted = (c.accepted || excluded.accepted)[
    greatest(1, cardinality(c.accepted) + cardinality(excluded.accepted) - {KEPT - 1}) :
]"""  # noqa: S608 - KEPT is our own constant

# The same behind ``reached``.
DELIVERED = """
insert into recipient_activity as c (address_key, account_id, contacted_at)
select address_key, account_id, max(at) from reached
where not exists (
    select from recipient_activity known
    where known.address_key = reached.address_key and known.account_id = reached.account_id
        and known.contacted_at > reached.at - interval '1 day'
)
group by address_key, account_id order by address_key, account_id
on conflict (address_key, account_id) do update
set contacted_at = greatest(c.contacted_at, excluded.contacted_at)"""

_DELIVERED = f"""
with reached as (
    select * from unnest($1::bytea[], $2::bigint[], $3::timestamptz[]) as one (address_key, account_id, at)
)
{DELIVERED}"""  # noqa: S608 - our own text


# Who has clicked or bought in the last quarter, or got mail in the last month, without having complained since.
_ENGAGED = """
select place from unnest($1::bytea[], $2::bigint[]) with ordinality as one (address_key, account_id, place)
join recipient_activity known using (address_key, account_id)
where greatest(known.clicked_at, known.bought_at) > now() - interval '90 days'
    or known.contacted_at > now() - interval '30 days'"""


class RecipientActivity:
    """Made by ``Store``."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    async def engaged(self, mailboxes: Sequence[tuple[int, Address]]) -> frozenset[tuple[int, Address]]:
        """Return those (account, address) that have shown interest in an account's mail lately. Raises
        StoreUnavailable."""
        keys = [self._secrets.address_key(address) for _, address in mailboxes]
        async with self._database.session() as connection:
            rows = await connection.fetch(_ENGAGED, keys, [account for account, _ in mailboxes])
        return frozenset(mailboxes[row["place"] - 1] for row in rows)


async def delivered(connection: Connection, contacted: Sequence[Contacted]) -> None:
    """Marketing mail has reached these addresses; within a transaction of the caller's."""
    if contacted:
        await connection.execute(_DELIVERED, *zip(*contacted, strict=True))
