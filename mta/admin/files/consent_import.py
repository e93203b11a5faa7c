"""Files of consents into the ledger, chunk by chunk, for commands and for jobs.

Invariants: no record is counted as written before it is. Each chunk is written with how far the file is read, so the
same file may be handed in again: it resumes where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mta.admin.context import AdminContext
from mta.admin.files import consent_records
from mta.admin.files.consent_fields import ImportDefaults
from mta.admin.files.table_file import BadRow, TableFile
from mta.store.permission.consents import ConsentsRecorded
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Given
from policy.permission.traps import TrapAddresses

CHUNK = 1000  # records in one transaction


@dataclass(slots=True)
class ConsentCounts:
    """How far an import is. ``bad``: records that cannot be used; ``known``: recorded before; ``cancelled``: queued
    copies, for revoked consents; ``lacking``: without the evidence that they need."""

    read: int = 0
    bad: int = 0
    fresh: int = 0
    known: int = 0
    lifted: int = 0
    cancelled: int = 0
    lacking: dict[str, int] = field(default_factory=dict)

    def add(self, done: ConsentsRecorded) -> None:
        self.fresh += done.fresh
        self.known += done.known
        self.lifted += done.lifted
        self.cancelled += done.pulled
        for name, count in done.lacking.items():
            self.lacking[name] = self.lacking.get(name, 0) + count

    @property
    def result(self) -> dict[str, Any]:
        names = ("read", "bad", "fresh", "known", "lifted", "cancelled", "lacking")
        return {name: getattr(self, name) for name in names}


async def begin(
    context: AdminContext, account_id: int, file: TableFile, defaults: ImportDefaults, *, lift: bool
) -> ImportProgress:
    """Return how far a file was imported before, read in this way. Raises StoreUnavailable."""
    choices = (defaults.zone, defaults.topics, defaults.basis, lift)
    return await context.store.consents.begin_import(account_id, await asyncio.to_thread(file.digest, *choices))


async def record_all(
    context: AdminContext,
    account_id: int,
    file: TableFile,
    defaults: ImportDefaults,
    counts: ConsentCounts,
    mark: ImportProgress | None,
    *,
    by: str,
    lift: bool,
) -> AsyncIterator[list[BadRow]]:
    """Record what is behind ``mark``, nothing if None; yield the bad rows of each chunk, once it is counted.

    The next chunk is read while one is written. Raises UnusableFile, StoreUnavailable.
    """
    consents = context.store.consents
    traps = TrapAddresses.load(context.settings.policy.trap_addresses)
    counts.read = mark.records if mark else 0
    chunks = _chunks(consent_records.read(file, defaults, skip=counts.read))
    chunk = await asyncio.to_thread(next, chunks, None)
    while chunk:
        ahead = asyncio.create_task(asyncio.to_thread(next, chunks, None))
        try:
            bad = [each for each in chunk if isinstance(each, BadRow)]
            counts.read, counts.bad = counts.read + len(chunk), counts.bad + len(bad)
            if mark:
                good, here = [each for each in chunk if isinstance(each, Given)], ImportProgress(mark.file, counts.read)
                counts.add(await consents.record(account_id, good, by=by, lift=lift, mark=here, traps=traps))
            yield bad
        finally:
            chunk = await ahead
    if mark:
        await consents.record(account_id, [], by=by, mark=ImportProgress(mark.file, counts.read, finished=True))


def _chunks(found: Iterator[Given | BadRow]) -> Iterator[list[Given | BadRow]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk
