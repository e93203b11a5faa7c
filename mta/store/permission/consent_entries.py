"""What is written into the ledger, and read again: one JSON object an entry, with a random salt in it.

The salt keeps the digest, which stays when the evidence is erased,
from telling what the evidence was. The fingerprint is a
keyed hash without salt, by which the same record is known again when a list is imported twice; it goes with the
evidence.

It must never write what was not given: fields that are empty are left out.

*Limits.* An address is kept as it was spelled; the fingerprint is the same for all spellings.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from mta.mail.address import Address
from mta.store.permission.ledger import Draft
from mta.store.postgres.secrets import Secrets
from policy.permission.consent import Basis
from policy.permission.evidence import Evidence, evidence_of
from policy.permission.ledger import EntryKind

_EVIDENCE = tuple(field.name for field in fields(Evidence))
_SALT, _FINGERPRINT = 16, 12  # octets


@dataclass(frozen=True, slots=True)
class Given:
    """A consent to be recorded. ``topics``: as ``policy.permission.consent.parse_topic`` makes them, at least one.
    Times have a
    zone. ``revoked_at``: it is known to have been revoked since."""

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
    """Writes entries. One for the installation's secret."""

    __slots__ = ("_key", "_secrets")

    def __init__(self, secrets: Secrets) -> None:
        self._secrets, self._key = secrets, secrets.derive("consent fingerprint")

    def given(self, given: Given, by: str) -> Draft:
        """``by``: who recorded it, and from where."""
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
        """An entry that gives nothing: a revocation, a renewal, an erasure."""
        return entry(kind, self._secrets.address_key(address), address, by, **said)


def entry(kind: EntryKind, address_key: bytes, address: Address | None, by: str, **said: object) -> Draft:
    """As ``EntryWriter.other``, for an address of which only the hash may be known."""
    return Draft(kind, address_key, _salted(address, by, orjson.dumps(said)))


def erased(address_key: bytes, by: str, reason: str) -> Draft:
    """The entry that says why the evidence before it is gone; it does not write the address down again."""
    salt = os.urandom(_SALT).hex()
    return Draft(EntryKind.ERASED, address_key, orjson.dumps({"salt": salt, "by": by, "reason": reason}))


def _salted(address: Address | None, by: str, said: bytes) -> bytes:
    head = {"salt": os.urandom(_SALT).hex(), "by": by}
    if address:
        head["address"] = str(address)
    return orjson.dumps(head)[:-1] + b"," + said[1:]


def read(evidence: bytes) -> dict[str, Any]:
    """What an entry says, without its salt. Times are texts, as in ISO 8601."""
    said: dict[str, Any] = orjson.loads(evidence)
    said.pop("salt", None)
    return said


def given_of(said: dict[str, Any]) -> Given:
    """The consent that an entry of kind ``GIVEN`` recorded."""
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
