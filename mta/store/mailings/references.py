"""The messages that were confirmed for a mailing: written once, looked up, withdrawn.

Invariants: a reference is never changed, but for the address of a person who was erased, after which it no longer
counts; neither does one that was removed, which stays as evidence for as long as that of consents
(``mta.store.privacy``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson

from mta.store.postgres.database import Connection

_ADD = """
insert into mailing_reference
    (mailing, number, by, terms, sample_of, digest, content, outgoing, preview, picture, evidence)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""

_LIST = """
select number, at, by, terms, sample_of, digest, octet_length(content) as size, preview, picture, evidence, removed_at,
    removed_by, redacted_at
from mailing_reference where mailing = $1 order by number"""

_TICKED = """
select number as reference, at, by, terms, encode(digest, 'hex') as sha256, evidence -> 'pages' as pages, removed_at
from mailing_reference where mailing = $1 order by number"""

_CONTENTS = """
select number, sample_of, content, outgoing, removed_at is not null as removed, redacted_at is not null as redacted
from mailing_reference where mailing = $1 order by number"""

_REMOVE = """
update mailing_reference set removed_at = now(), removed_by = $3
where mailing = $1 and (number = $2 or sample_of = $2) and removed_at is null returning number"""


@dataclass(frozen=True, slots=True)
class NewReference:
    """A message that is confirmed. ``content``: as an application submits it; ``outgoing``: as its recipient would get
    it; ``preview``: its text; ``picture``: how it looks, PNG; ``evidence``: what was found. ``sample_of``: the number
    of the reference that it is another copy of."""

    number: int
    content: bytes
    outgoing: bytes
    preview: str = ""
    picture: bytes | None = None
    evidence: Mapping[str, Any] | None = None
    sample_of: int | None = None

    @property
    def digest(self) -> bytes:
        return sha256(self.content).digest()


@dataclass(frozen=True, slots=True)
class ReferenceRecord:
    """What is kept of a reference, but the message itself. ``digest``: hexadecimal; ``size`` in octets."""

    number: int
    at: datetime
    by: str
    terms: str
    sample_of: int | None
    digest: str
    size: int
    preview: str
    picture: bytes | None
    evidence: Mapping[str, Any]
    removed_at: datetime | None = None
    removed_by: str | None = None
    redacted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReferenceContent:
    """The message of a reference, as submitted and as it would leave. ``redacted``: an address was erased from it."""

    number: int
    sample_of: int | None
    content: bytes
    outgoing: bytes
    removed: bool = False
    redacted: bool = False

    @property
    def counts(self) -> bool:
        """Whether a message may match it."""
        return not self.removed and not self.redacted


async def add(connection: Connection, mailing_id: str, new: NewReference, *, by: str, terms: str) -> None:
    """Write a reference within the caller's transaction. Raises UniqueViolationError if another has its number."""
    evidence = orjson.dumps(new.evidence or {}).decode()
    values = (new.sample_of, new.digest, new.content, new.outgoing, new.preview, new.picture, evidence)
    await connection.execute(_ADD, mailing_id, new.number, by, terms, *values)


async def read(connection: Connection, mailing_id: str) -> list[ReferenceRecord]:
    """Return all references of a mailing, removed ones too, in order."""
    rows = await connection.fetch(_LIST, mailing_id)
    return [
        ReferenceRecord(**dict(row) | {"digest": row["digest"].hex(), "evidence": orjson.loads(row["evidence"])})
        for row in rows
    ]


async def ticked(connection: Connection, mailing_id: str) -> list[dict[str, Any]]:
    """Return what was confirmed, for a dossier: hash, who, when, under which terms, and the pages that were seen."""
    return [
        dict(row)
        | {
            "at": row["at"].isoformat(),
            "removed_at": row["removed_at"].isoformat() if row["removed_at"] else None,
            "pages": orjson.loads(row["pages"] or "[]"),
        }
        for row in await connection.fetch(_TICKED, mailing_id)
    ]


async def contents(connection: Connection, mailing_id: str) -> Sequence[ReferenceContent]:
    """Return the messages that were confirmed, in order, those that count no longer too."""
    rows = await connection.fetch(_CONTENTS, mailing_id)
    return [
        ReferenceContent(**dict(row) | {"content": bytes(row["content"]), "outgoing": bytes(row["outgoing"])})
        for row in rows
    ]


async def remove(connection: Connection, mailing_id: str, number: int, *, by: str) -> bool:
    """Withdraw a reference and its samples; return False if there is none of this number that counts."""
    return bool(await connection.fetch(_REMOVE, mailing_id, number, by))
