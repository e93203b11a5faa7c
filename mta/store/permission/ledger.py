"""The ledger of consents as rows: entries appended under the lock of their chain, read again, checked, emptied.

It must never change an entry, but for taking its evidence out when that is erased, which another entry says.

*Limits.* One chain an account: two who append for the same account wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mta.store.postgres.database import Connection, Database
from policy.permission.ledger import (
    Checker,
    EntryKind,
    Head,
    LedgerEntry,
    LedgerFault,
    beginning,
    digest_of,
    seal,
)

PAGE = 5000  # entries read at once
SECONDS = 60.0  # for one page

_OPEN = "insert into consent_head (account_id, entry, hash) values ($1, $2, $3) on conflict do nothing"
_LOCK = "select entry, hash from consent_head where account_id = $1 for update"
_MOVE = "update consent_head set entry = $2, hash = $3 where account_id = $1"
_HEAD = "select entry, hash from consent_head where account_id = $1"
_READ = """
select entry, at, kind, address_key, digest, hash, evidence from consent_entry
where account_id = $1 and entry > $2 and entry <= $3 order by entry limit $4"""
_BEYOND = """
select min(e.entry) from consent_entry e left join consent_head h using (account_id)
where account_id = $1 and e.entry > coalesce(h.entry, 0)"""
_EMPTY = """
update consent_entry set evidence = null, fingerprint = null
where account_id = $1 and address_key = $2 and evidence is not null and kind <> 'erased' returning entry"""

_COLUMNS = ("account_id", "entry", "at", "kind", "address_key", "digest", "hash", "evidence", "fingerprint")


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be written. ``fingerprint``: the keyed hash by which the same record is known again."""

    kind: EntryKind
    address_key: bytes
    evidence: bytes
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """``head``: where the chain ends; note it elsewhere, and hand it in next time."""

    head: Head
    faults: tuple[LedgerFault, ...]


async def lock(connection: Connection, account_id: int) -> Head:
    """Wait until nobody else appends for this account; where its chain ends."""
    start = beginning(account_id)
    await connection.execute(_OPEN, account_id, start.number, start.hash)
    row = await connection.fetchrow(_LOCK, account_id)
    assert row is not None
    return Head(row["entry"], row["hash"])


async def append(connection: Connection, account_id: int, head: Head, drafts: Sequence[Draft], now: datetime) -> Head:
    """Write entries behind ``head``, which the caller has locked; the new head. Their numbers follow the old one's."""
    records: list[tuple[Any, ...]] = []
    number, before = head.number, head.hash
    for draft in drafts:
        number, digest = number + 1, digest_of(draft.evidence)
        before = seal(before, number, now, draft.kind.value, draft.address_key, digest)
        records.append(
            (
                account_id,
                number,
                now,
                draft.kind.value,
                draft.address_key,
                digest,
                before,
                draft.evidence,
                draft.fingerprint,
            )
        )
    await connection.copy_records_to_table("consent_entry", records=records, columns=_COLUMNS)
    await connection.execute(_MOVE, account_id, number, before)
    return Head(number, before)


async def empty(connection: Connection, account_id: int, address_key: bytes) -> list[int]:
    """Take out all evidence about an address: the numbers of the entries. The caller appends an ``ERASED`` entry."""
    return [row["entry"] for row in await connection.fetch(_EMPTY, account_id, address_key)]


async def read_head(database: Database, account_id: int) -> Head:
    """Raises StoreUnavailable."""
    async with database.session() as connection:
        row = await connection.fetchrow(_HEAD, account_id)
    return Head(row["entry"], row["hash"]) if row else beginning(account_id)


async def pages(database: Database, account_id: int, head: Head) -> AsyncIterator[list[LedgerEntry]]:
    """All entries of an account up to ``head``, in order. Raises StoreUnavailable."""
    last = -1 << 62  # an entry with a number that cannot be must be seen too
    while True:
        async with database.session(SECONDS) as connection:
            rows = await connection.fetch(_READ, account_id, last, head.number, PAGE)
        if not rows:
            return
        yield [LedgerEntry(*row) for row in rows]
        last = rows[-1]["entry"]


async def verify(database: Database, account_id: int, noted: Head | None = None) -> AsyncIterator[int | Verified]:
    """Follow the chain from its beginning: the number of entries checked, page by page, and at last the result.

    Raises StoreUnavailable.
    """
    head = await read_head(database, account_id)
    checker = Checker(account_id, noted)
    faults: list[LedgerFault] = []
    async for page in pages(database, account_id, head):
        faults += checker.follow(page)
        yield checker.head.number
    faults += checker.finish(head)
    async with database.session(SECONDS) as connection:
        if beyond := await connection.fetchval(_BEYOND, account_id):
            faults.append(LedgerFault(beyond, "it stands behind the end of the ledger, where nothing was appended"))
    yield Verified(head, tuple(faults))
