"""Encode and decode ledger entries: one JSON object per entry, with a random salt.

The digest of an entry stays when its evidence is erased; the salt prevents the evidence from being guessed from it.
The fingerprint is a keyed hash without salt. It identifies a record that is imported a second time, and is erased with
the evidence.

Invariants: empty fields are left out.

Limitations: an address is stored as it was spelled; the fingerprint is the same for all spellings.
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
        return entry(kind, self._secrets.address_key(address), address, by, **said)


def entry(kind: EntryKind, address_key: bytes, address: Address | None, by: str, **said: object) -> Draft:
    """Do the same as ``EntryWriter.other`` for an address of which possibly only the hash is known."""
    return Draft(kind, address_key, _salted(address, by, orjson.dumps(said)))


def erased(address_key: bytes, by: str, reason: str) -> Draft:
    """Return the entry that says why the earlier evidence is gone. It does not contain the address."""
    salt = os.urandom(_SALT).hex()
    return Draft(EntryKind.ERASED, address_key, orjson.dumps({"salt": salt, "by": by, "reason": reason}))


def _salted(address: Address | None, by: str, said: bytes) -> bytes:
    head = {"salt": os.urandom(_SALT).hex(), "by": by}
    if address:
        head["address"] = str(address)
    return orjson.dumps(head)[:-1] + b"," + said[1:]


def read(evidence: bytes) -> dict[str, Any]:
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
