"""The ledger's hash chain: each entry seals itself and, through the previous hash, everything before it.

``hash = SHA-256(previous hash, number, time, kind, address key, digest of the evidence)``, every field of a fixed
length or with its length before it, so that no two entries have the same input. An account's chain starts from its own
id: entries cannot be moved to another account. The evidence itself is outside, represented by its SHA-256: it can be
erased and the chain still holds.

Invariants: an entry is not accepted merely for being the last one: the end of the chain is stored separately
(``Head``).

Limitations: anyone who can write every row can compute a new chain from the start. A head noted elsewhere
(``mta consent verify`` prints and accepts one) reveals that too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIELDS = struct.Struct(">32sqqB")


class EntryKind(Enum):
    """What an entry says."""

    GIVEN = "given"
    REVOKED = "revoked"
    RENEWED = "renewed"  # a sign of the relation: a click, a purchase
    ERASED = "erased"  # the evidence of earlier entries about this address was deleted, and why


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """``number``: 1, 2, 3 ... within the account. ``address_key``: 16 octets. ``evidence`` None: it was erased."""

    number: int
    at: datetime
    kind: str
    address_key: bytes
    digest: bytes
    hash: bytes
    evidence: bytes | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the last entry's number and hash; 0 and the account's beginning if there is none."""

    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """What is wrong with the ledger, at which entry."""

    number: int
    text: str


def beginning(account_id: int) -> Head:
    """What the first entry of an account follows."""
    return Head(0, hashlib.sha256(b"imprimatur consent ledger %d" % account_id).digest())


def digest_of(evidence: bytes) -> bytes:
    return hashlib.sha256(evidence).digest()


def seal(before: bytes, number: int, at: datetime, kind: str, address_key: bytes, digest: bytes) -> bytes:
    """The hash of an entry. ``at`` counts to the microsecond, as PostgreSQL keeps it."""
    name = kind.encode()
    moment = (at - _EPOCH) // _MICROSECOND
    text = _FIELDS.pack(before, number, moment, len(name)) + name + bytes([len(address_key)]) + address_key + digest
    return hashlib.sha256(text).digest()


class Checker:
    """Follows a chain from its beginning; entries come in order, as many at a time as one likes.

    ``noted``: an earlier head that was kept elsewhere, which the chain must pass through."""

    def __init__(self, account_id: int, noted: Head | None = None) -> None:
        self.head = beginning(account_id)
        self._noted = noted
        self._emptied: dict[bytes, int] = {}  # keys whose evidence is gone, by the first such entry

    def follow(self, entries: Iterable[LedgerEntry]) -> Iterator[LedgerFault]:
        """What is wrong with each. After a fault the chain is followed from what is written, to find the next one."""
        for entry in entries:
            if entry.number != self.head.number + 1:
                yield LedgerFault(entry.number, f"entry {self.head.number + 1} is missing or out of order")
            sealed = seal(self.head.hash, entry.number, entry.at, entry.kind, entry.address_key, entry.digest)
            if sealed != entry.hash:
                yield LedgerFault(
                    entry.number, "its hash does not follow from the one before: it, or that one, was changed"
                )
            if entry.evidence is None:
                self._emptied.setdefault(entry.address_key, entry.number)
            elif digest_of(entry.evidence) != entry.digest:
                yield LedgerFault(entry.number, "its evidence was changed")
            if entry.kind == EntryKind.ERASED.value:
                self._emptied.pop(entry.address_key, None)
            self.head = Head(entry.number, entry.hash)
            if self._noted and self._noted.number == entry.number and self._noted != self.head:
                yield LedgerFault(entry.number, "it is not the entry that was noted: the ledger was written anew")

    def finish(self, head: Head) -> Iterator[LedgerFault]:
        """What is wrong at the end. ``head``: where the store says that the chain ends."""
        if head != self.head:
            yield LedgerFault(
                head.number, f"the ledger ends with entry {self.head.number}, and another end was written down"
            )
        if self._noted and self._noted.number > self.head.number:
            yield LedgerFault(self._noted.number, f"it was noted, and the ledger ends with entry {self.head.number}")
        for number in self._emptied.values():
            yield LedgerFault(number, "its evidence is gone, and no later entry says that it was erased")
