"""Read ledgers: one address for its dossier, one account for its export.

Invariants: entries of one account are never shown as those of another.

Limitations: an entry whose evidence was erased has only its number, kind and time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from mta.mail.address import Address
from mta.store.permission import consent_entries, ledger
from mta.store.permission.consent_entries import Given, given_of
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from policy.permission.consent import Basis, Consent
from policy.permission.dossier import LedgerProof
from policy.permission.ledger import EntryKind, LedgerEntry

_ENTRIES = """
select account_id, entry, at, kind, hash, evidence from consent_entry where address_key = $1
order by account_id, entry"""

_CONSENTS = """
select c.account_id, topic, basis, given_at, confirmed_at, revoked_at, missing, facts, entry, contacted_at, clicked_at,
    bought_at
from consent c left join recipient_activity t using (address_key, account_id)
where address_key = $1 order by account_id, topic"""

_IN_FORCE = """
select topic, revoked_at, entry from consent where account_id = $1 and address_key = any($2::bytea[])"""


@dataclass(frozen=True, slots=True)
class LedgerExtract:
    """The entries about an address in the ledger of one account, and the consents that result from them."""

    account_id: int
    proofs: tuple[LedgerProof, ...]
    consents: tuple[Consent, ...]


async def of(database: Database, secrets: Secrets, address: Address) -> list[LedgerExtract]:
    """Return the extracts of all accounts about an address. Raises StoreUnavailable."""
    async with database.session() as connection:
        return await known(connection, secrets.address_key(address))


async def known(connection: Connection, key: bytes) -> list[LedgerExtract]:
    """Return the same for an address known only by its keyed hash, within the caller's transaction."""
    entries = await connection.fetch(_ENTRIES, key)
    consents = await connection.fetch(_CONSENTS, key)
    accounts = sorted({row["account_id"] for row in (*entries, *consents)})
    return [
        LedgerExtract(
            account_id,
            tuple(_proof(row) for row in entries if row["account_id"] == account_id),
            tuple(_consent(row) for row in consents if row["account_id"] == account_id),
        )
        for account_id in accounts
    ]


def _proof(row: Any) -> LedgerProof:
    said = consent_entries.read(row["evidence"]) if row["evidence"] is not None else None
    return LedgerProof(row["entry"], row["at"], EntryKind(row["kind"]), row["hash"], said)


def _consent(row: Any) -> Consent:
    return Consent(
        Basis(row["basis"]),
        frozenset({row["topic"]}),
        row["given_at"],
        row["confirmed_at"],
        row["entry"],
        tuple(row["missing"]),
        row["contacted_at"],
        row["revoked_at"],
        orjson.loads(row["facts"]),
        row["clicked_at"],
        row["bought_at"],
    )


async def export(database: Database, account_id: int) -> AsyncIterator[list[Given]]:
    """Yield pages of the consents in force or revoked, each with the topics it applies to. Raises StoreUnavailable."""
    head = await ledger.read_head(database, account_id)
    async for page in ledger.pages(database, account_id, head):
        given = [entry for entry in page if entry.kind == EntryKind.GIVEN.value and entry.evidence is not None]
        async with database.session(ledger.SECONDS) as connection:
            rows = await connection.fetch(_IN_FORCE, account_id, [entry.address_key for entry in given])
        topics: dict[int, dict[datetime | None, list[str]]] = {}
        for row in rows:
            topics.setdefault(row["entry"], {}).setdefault(row["revoked_at"], []).append(row["topic"])
        yield [each for entry in given for each in _still(entry, topics.get(entry.number, {}))]


def _still(entry: LedgerEntry, topics: Mapping[datetime | None, Sequence[str]]) -> list[Given]:
    """Return what remains of a consent: one for the topics in force, one for each group of topics revoked together."""
    if not topics:
        return []
    assert entry.evidence is not None
    given = given_of(consent_entries.read(entry.evidence))
    return [replace(given, topics=tuple(sorted(names)), revoked_at=at) for at, names in topics.items()]
