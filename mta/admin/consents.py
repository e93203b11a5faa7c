"""Consents: record one or a file of them, look at an address, revoke, note a contact.

Invariants: an account reaches its own ledger only. A file is recorded in chunks, each with how far it is, so that the
same file may be handed in again: it resumes where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from mta.admin.context import AdminContext
from mta.admin.errors import Forbidden, InvalidValue, NotFound
from mta.admin.files import consent_fields, consent_records
from mta.admin.files.consent_fields import FieldError, ImportDefaults
from mta.admin.files.table_file import BadRow, TableFile, UnusableFile
from mta.admin.suppressions import require_liftable
from mta.mail.address import Address
from mta.observe.log import get_logger
from mta.store.journal.jobs import RecordedJob
from mta.store.permission.consents import ConsentsRecorded, LedgerExtract, Revocation
from mta.store.permission.import_progress import ImportProgress
from mta.store.permission.ledger import Given
from mta.store.postgres.errors import StoreUnavailable
from policy.permission.consent import EVERY_TOPIC, Sign
from policy.permission.suppression import Reason
from policy.permission.traps import TrapAddresses

log = get_logger()

CHUNK = 500  # records in one transaction
MAX_ERRORS = 1000  # of a file that are kept
IMPORT = "consents.import"


async def record(
    context: AdminContext, account: str, fields: Mapping[str, str], *, lift: bool = False
) -> ConsentsRecorded:
    """Record one consent, field by field. ``lift``: suppressions that a newer consent answers end. Raises InvalidValue,
    Forbidden, NotFound, Refused, StoreUnavailable."""
    owner = (await context.account(account)).account
    await _require_lift(context, owner.id, lift=lift)
    try:
        given = consent_fields.read(fields, ImportDefaults(datetime.now(UTC)))
    except FieldError as error:
        raise InvalidValue(str(error).partition(":")[0], str(error)) from None
    traps = TrapAddresses.load(context.settings.policy.trap_addresses)
    subject = given.address
    async with context.audited("consent.record", subject, account_id=owner.id, address=given.address) as entry:
        done = await context.store.consents.record(owner.id, [given], by=context.actor.name, lift=lift, traps=traps)
        entry.after.update(topics=list(given.topics), basis=given.basis.value, fresh=done.fresh, lifted=done.lifted)
    return done


async def of(context: AdminContext, address: Address, account: str | None = None) -> Sequence[LedgerExtract]:
    """Return what the ledgers have of an address. Raises NotFound, StoreUnavailable."""
    own = await context.account_filter(account)
    found = await context.store.consents.of(address)
    return [each for each in found if own in (None, each.account_id)]


async def revoke(
    context: AdminContext, account: str, address: Address, *, topic: str = EVERY_TOPIC, reason: str
) -> Revocation:
    """Revoke consent for a topic, or for all, and cancel the queued copies concerned. Raises InvalidValue, NotFound,
    StoreUnavailable."""
    if not reason.strip():
        raise InvalidValue("reason", "why it is revoked must be said")
    owner = (await context.account(account)).account
    async with context.audited("consent.revoke", address, account_id=owner.id, address=address, reason=reason) as entry:
        done = await context.store.consents.revoke(owner.id, address, topic, reason=reason, by=context.actor.name)
        entry.after.update(topic=topic, entry=done.entry, cancelled=done.pulled)
    return done


async def renew(context: AdminContext, account: str, address: Address, sign: Sign, at: datetime | None = None) -> int:
    """Record a contact that restarts the expiry of consents; return the number of its entry. Raises NotFound,
    StoreUnavailable."""
    owner = (await context.account(account)).account
    async with context.audited("consent.renew", address, account_id=owner.id, address=address) as entry:
        number = await context.store.consents.renew(owner.id, address, sign, by=context.actor.name, at=at)
        entry.after.update(sign=sign.value, entry=number)
    return number


# --- files


@dataclass(slots=True)
class ImportCounts:
    """How far an import is. ``bad``: records that cannot be used; ``known``: recorded before; ``lacking``: without the
    evidence that they need."""

    read: int = 0
    bad: int = 0
    fresh: int = 0
    known: int = 0
    lifted: int = 0
    lacking: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, done: ConsentsRecorded) -> None:
        self.fresh, self.known, self.lifted = (
            self.fresh + done.fresh,
            self.known + done.known,
            self.lifted + done.lifted,
        )
        for name, count in done.lacking.items():
            self.lacking[name] = self.lacking.get(name, 0) + count

    def bad_row(self, row: BadRow) -> None:
        self.bad += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append({"line": row.line, "text": row.text})

    @property
    def result(self) -> dict[str, Any]:
        """The counts, without the mistakes."""
        counts = {"read": self.read, "bad": self.bad, "fresh": self.fresh, "known": self.known, "lifted": self.lifted}
        return counts | {"lacking": self.lacking}


class ConsentImports:
    """The imports that run in this process. ``close`` lets them go; the same file resumes them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def begin(self, context: AdminContext, account: str, path: Path, *, lift: bool = False) -> RecordedJob:
        """Import the file at ``path``, CSV or JSON lines, which is deleted afterwards; return the job.

        Raises Forbidden, NotFound, Refused, StoreUnavailable.
        """
        owner = (await context.account(account)).account
        await _require_lift(context, owner.id, lift=lift)
        async with context.audited(IMPORT, account, account_id=owner.id) as entry:
            number = await context.store.jobs.begin(IMPORT, owner.id, context.actor.name)
            entry.after.update(job=number, lift=lift)
        task = asyncio.create_task(_import(context, number, owner.id, path, lift=lift), name=f"job {number}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        job = await context.store.jobs.find(number)
        assert job is not None, "it was made above"
        return job

    async def close(self) -> None:
        """Stop what runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def find_job(context: AdminContext, number: int) -> RecordedJob:
    """Raises NotFound, StoreUnavailable."""
    job = await context.store.jobs.find(number)
    if job is None or context.actor.account_id not in (None, job.account_id):
        raise NotFound(f"there is no job {number}")
    return job


async def _import(context: AdminContext, number: int, account_id: int, path: Path, *, lift: bool) -> None:
    """Record a file; its job tells how far it is, and how it ended."""
    jobs, counts = context.store.jobs, ImportCounts()
    try:
        with TableFile.open(path) as file:
            await _record_all(context, number, account_id, file, counts, lift=lift)
        await jobs.move(number, counts.result, counts.errors, "done")
    except UnusableFile as error:
        counts.bad_row(BadRow(0, str(error)))
        await jobs.move(number, counts.result, counts.errors, "failed")
    except Exception as error:
        log.error(
            "import failed", job=number, kind=type(error).__name__, exc_info=not isinstance(error, StoreUnavailable)
        )
        counts.bad_row(BadRow(0, "it stopped; hand the same file in again: it resumes where it stopped"))
        with suppress(StoreUnavailable):
            await jobs.move(number, counts.result, counts.errors, "failed")
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _record_all(
    context: AdminContext, number: int, account_id: int, file: TableFile, counts: ImportCounts, *, lift: bool
) -> None:
    """Record chunk by chunk, reading one ahead in a thread. Raises UnusableFile, StoreUnavailable."""
    consents, by = context.store.consents, f"{context.actor.name}, job {number}"
    traps = TrapAddresses.load(context.settings.policy.trap_addresses)
    mark = await consents.begin_import(account_id, await asyncio.to_thread(file.digest, lift))
    counts.read = mark.records
    defaults = ImportDefaults(datetime.now(UTC))
    chunks = _chunks(consent_records.read(file, defaults, skip=mark.records))
    while chunk := await asyncio.to_thread(next, chunks, None):
        counts.read += len(chunk)
        for each in chunk:
            if isinstance(each, BadRow):
                counts.bad_row(each)
        good = [each for each in chunk if isinstance(each, Given)]
        here = ImportProgress(mark.file, counts.read)
        counts.add(await consents.record(account_id, good, by=by, lift=lift, mark=here, traps=traps))
        await context.store.jobs.move(number, counts.result, counts.errors)
    await consents.record(account_id, [], by=by, mark=ImportProgress(mark.file, counts.read, finished=True))


def _chunks(found: Iterator[Given | BadRow]) -> Iterator[list[Given | BadRow]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk


async def _require_lift(context: AdminContext, account_id: int, *, lift: bool) -> None:
    """Raises Forbidden if an account would lift suppressions, Refused if its profile keeps them."""
    if not lift:
        return
    if context.actor.account_id is not None:
        raise Forbidden("only an operator can have suppressions lifted by consents")
    await require_liftable(context, account_id, Reason.UNSUBSCRIBE)
