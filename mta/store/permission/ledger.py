"""The ledger of consents: entries encoded, appended, read, verified and erased.

An entry is one JSON object with a random salt. Its digest stays when its evidence is erased; the salt prevents the
evidence from being guessed from it. The fingerprint is a keyed hash without salt. It identifies a record that is
imported a second time, and is erased with the evidence.

Invariants: an entry is never changed, except that its evidence is removed when it is erased; another entry records
that. Entries are appended under the lock of their chain. Empty fields are left out.

Limitations: there is one chain per account; two writers for the same account wait for each other. An address is stored
as it was spelled; the fingerprint is the same for all spellings.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.address import Address
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence, evidence_of
from policy.permission.ledger import Checker, EntryKind, Head, LedgerEntry, LedgerFault, beginning, digest_of, seal

PAGE = 5000  # entries per query
SECONDS = 60.0  # per page

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
    """An entry to be written. ``fingerprint``: the keyed hash that identifies a record imported twice."""

    kind: EntryKind
    address_key: bytes
    evidence: bytes
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification. ``head``: the end of the chain; store it elsewhere and pass it to the next one."""

    head: Head
    faults: tuple[LedgerFault, ...]


async def lock(connection: Connection, account_id: int) -> Head:
    """Lock the account's ledger and return its head."""
    start = beginning(account_id)
    await connection.execute(_OPEN, account_id, start.number, start.hash)
    row = await connection.fetchrow(_LOCK, account_id)
    assert row is not None
    return Head(row["entry"], row["hash"])


async def append(connection: Connection, account_id: int, head: Head, drafts: Sequence[Draft], now: datetime) -> Head:
    """Append entries after ``head``, which the caller has locked; return the new head. Numbers are consecutive."""
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


async def erase_evidence(connection: Connection, account_id: int, address_key: bytes) -> list[int]:
    """Erase all evidence about an address; return the numbers of the entries. The caller appends an ``ERASED``
    entry."""
    return [row["entry"] for row in await connection.fetch(_EMPTY, account_id, address_key)]


async def read_head(database: Database, account_id: int) -> Head:
    """Return the head of the account's ledger. Raises StoreUnavailable."""
    async with database.session() as connection:
        row = await connection.fetchrow(_HEAD, account_id)
    return Head(row["entry"], row["hash"]) if row else beginning(account_id)


async def pages(database: Database, account_id: int, head: Head) -> AsyncIterator[list[LedgerEntry]]:
    """Yield all entries of an account up to ``head``, in order. Raises StoreUnavailable."""
    last = -1 << 62  # entries with impossible numbers must be found too
    while True:
        async with database.session(SECONDS) as connection:
            rows = await connection.fetch(_READ, account_id, last, head.number, PAGE)
        if not rows:
            return
        yield [LedgerEntry(*row) for row in rows]
        last = rows[-1]["entry"]


async def verify(database: Database, account_id: int, noted: Head | None = None) -> AsyncIterator[int | Verified]:
    """Verify the chain from its beginning: yield the number of entries checked after each page, finally the result.

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
            faults.append(LedgerFault(beyond, "it is after the end of the ledger"))
    yield Verified(head, tuple(faults))


_EVIDENCE = tuple(field.name for field in fields(Evidence))
_SALT, _FINGERPRINT = 16, 12  # octets


@dataclass(frozen=True, slots=True)
class Given:
    """A consent to be recorded. ``topics``: as returned by ``policy.permission.consent.parse_topic``, at least one.
    Times have a time zone. ``revoked_at``: when it was revoked, if it was."""

    address: Address
    topics: tuple[str, ...]
    basis: Basis
    given_at: datetime
    confirmed_at: datetime | None
    evidence: Evidence
    revoked_at: datetime | None = None

    @property
    def effective_at(self) -> datetime:
        return self.confirmed_at or self.given_at


class EntryWriter:
    """Write entries with the secret of the installation."""

    __slots__ = ("_key", "_secrets")

    def __init__(self, secrets: Secrets) -> None:
        self._secrets, self._key = secrets, secrets.derive("consent fingerprint")

    def given(self, given: Given, by: str) -> Draft:
        """Return the entry for a consent. ``by``: who recorded it, and from where."""
        evidence = given.evidence
        said: dict[str, Any] = {
            "topics": given.topics,
            "basis": given.basis.value,
            "given_at": given.given_at.astimezone(UTC),
        }
        if given.confirmed_at:
            said["confirmed_at"] = given.confirmed_at.astimezone(UTC)
        for name in _EVIDENCE:
            if (value := getattr(evidence, name)) not in ("", None, ()):
                said[name] = value
        text = orjson.dumps(said)
        key = self._secrets.address_key(given.address)
        known_by = hashlib.blake2b(key + text, digest_size=_FINGERPRINT, key=self._key).digest()
        return Draft(EntryKind.GIVEN, key, _salted(given.address, by, text), known_by)

    def other(self, kind: EntryKind, address: Address, by: str, **said: object) -> Draft:
        """Return an entry that gives no consent: a revocation, a renewal or an erasure."""
        return new_entry(kind, self._secrets.address_key(address), address, by, **said)


def new_entry(kind: EntryKind, address_key: bytes, address: Address | None, by: str, **said: object) -> Draft:
    """Do the same as ``EntryWriter.other`` for an address of which possibly only the hash is known."""
    return Draft(kind, address_key, _salted(address, by, orjson.dumps(said)))


def erasure_entry(address_key: bytes, by: str, reason: str) -> Draft:
    """Return the entry that says why the earlier evidence is gone. It does not contain the address."""
    salt = os.urandom(_SALT).hex()
    return Draft(EntryKind.ERASED, address_key, orjson.dumps({"salt": salt, "by": by, "reason": reason}))


def _salted(address: Address | None, by: str, said: bytes) -> bytes:
    head = {"salt": os.urandom(_SALT).hex(), "by": by}
    if address:
        head["address"] = str(address)
    return orjson.dumps(head)[:-1] + b"," + said[1:]


def read_evidence(evidence: bytes) -> dict[str, Any]:
    """Return the contents of an entry, without its salt. Times are ISO 8601 texts."""
    said: dict[str, Any] = orjson.loads(evidence)
    said.pop("salt", None)
    return said


def given_of(said: dict[str, Any]) -> Given:
    """Return the consent that an entry of kind ``GIVEN`` recorded."""
    local, _, domain = said["address"].rpartition("@")
    confirmed_at = said.get("confirmed_at")
    return Given(
        Address(local, domain),
        tuple(said["topics"]),
        Basis(said["basis"]),
        datetime.fromisoformat(said["given_at"]),
        datetime.fromisoformat(confirmed_at) if confirmed_at else None,
        evidence_of(said),
    )
