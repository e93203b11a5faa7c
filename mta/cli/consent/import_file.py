"""``mta consent import``: a file of consents into the ledger, chunk by chunk.

Invariants: no record is counted as written before it is. An import that was interrupted resumes where it stopped.

Limitations: the name noted is that of the operating system's user.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from mta.admin.files import consent_records as records
from mta.admin.files.consent_fields import ImportDefaults
from mta.admin.files.table_file import BadRow, TableFile, UnusableFile
from mta.cli.context import load_settings, require_account_id, with_admin
from mta.cli.options import ConfigOption, DryRunOption, operator
from mta.cli.output import fail, progress
from mta.store.postgres.errors import StoreUnavailable
from policy.permission.suppression import Reason

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.store.permission.address_lists import RecordedFinding
    from mta.store.permission.consents import ConsentsRecorded
    from mta.store.permission.import_progress import ImportProgress
    from mta.store.permission.ledger import Given
    from mta.store.store import Store
    from policy.permission.traps import TrapAddresses

CHUNK = 5000  # records in one transaction

OfAccountOption = Annotated[
    str, typer.Option("--account", "-a", metavar="NAME", help="The account to which consent was given.")
]
LiftOption = Annotated[
    bool,
    typer.Option(
        "--lift", help="Lift suppressions by an unsubscribe or revocation that a complete, newer consent answers."
    ),
]


@dataclass(slots=True)
class ImportTally:
    """What became of a file's records."""

    read: int = 0
    fresh: int = 0
    known: int = 0
    lifted: int = 0
    cancelled: int = 0
    bad: int = 0
    lacking: Counter[str] = field(default_factory=Counter)
    findings: Sequence[RecordedFinding] = ()

    def add(self, recorded: ConsentsRecorded) -> None:
        self.fresh += recorded.fresh
        self.known += recorded.known
        self.lifted += recorded.lifted
        self.cancelled += recorded.pulled
        self.lacking.update(recorded.lacking)

    def print(self) -> None:
        print(f"{self.read} records read: {self.fresh} recorded, {self.known} already recorded, {self.bad} bad.")
        if self.cancelled:
            print(f"{self.cancelled} queued copies cancelled for revoked consents.")
        if self.lifted:
            print(f"{self.lifted} suppressions lifted.")
        if self.lacking:
            print("Some cannot be used yet. Missing evidence:")
            for name, count in self.lacking.most_common():
                print(f"  {count:>7}  {described(name)}")
        for each in self.findings:
            wait = "; the account's mailings wait for a decision" if each.hold else ""
            print(f"Finding {each.id}: {each.text}{wait} (mta consent findings).")


def described(name: str) -> str:
    """Return what a consent lacks, in words: a requirement, or a basis that no profile takes."""
    from policy.permission.evidence import NEEDED

    known = {each.value: text for each, text in NEEDED.items()}
    return known.get(name, name)


def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with a header line, or JSON lines; UTF-8.")],
    account: OfAccountOption,
    topics: Annotated[str, typer.Option(help="For records without topics.")] = "",
    basis: Annotated[str, typer.Option(help="For records without a basis.")] = "",
    zone: Annotated[str | None, typer.Option(help="Time zone of times without one, e.g. Europe/Amsterdam.")] = None,
    lift: LiftOption = False,
    force: Annotated[bool, typer.Option("--force", help="Import a file that was imported before.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Record every consent of a file. Bad records are reported as `file:line: problem`, the others are recorded.

    Consents that are already recorded stay as they are, and an interrupted import resumes. Exit status 1 if there are
    bad records, 2 if the file cannot be used at all.
    """
    from mta.admin.suppressions import require_liftable
    from mta.service.jobs.address_lists import check_lists
    from policy.permission.traps import TrapAddresses

    defaults = ImportDefaults(datetime.now(UTC), _zone(zone), topics, basis)
    try:
        with TableFile.open(path) as file:
            settings = load_settings(config)
            traps = TrapAddresses.load(settings.policy.trap_addresses)

            async def work(context: AdminContext) -> ImportTally:
                store = context.store
                owner = await require_account_id(store, account)
                if lift:
                    await require_liftable(context, owner, Reason.UNSUBSCRIBE)
                if dry_run:
                    return await _import(store, file, owner, defaults, None, traps, lift=lift)
                mark = await _begin(store, owner, file, defaults, force=force)
                tally = await _import(store, file, owner, defaults, mark, traps, lift=lift)
                tally.findings = [each for each in await check_lists(settings, store) if each.file == mark.file.hex()]
                return tally

            tally = with_admin(settings, work)
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}", status=2)
    tally.print()
    if tally.bad:
        raise typer.Exit(1)


async def _begin(
    store: Store, account_id: int, file: TableFile, defaults: ImportDefaults, *, force: bool
) -> ImportProgress:
    """Return how far the file was imported before; end the command if that was all of it."""
    from mta.store.permission.import_progress import ImportProgress

    mark = await store.consents.begin_import(account_id, file.digest(defaults.zone, defaults.topics, defaults.basis))
    if force:
        return ImportProgress(mark.file, 0)
    if mark.finished:
        fail(f"{file.name} was imported before, all {mark.records} records (--force imports it again)", status=0)
    if mark.records:
        print(f"Resuming after the first {mark.records} records, which were imported before.", file=sys.stderr)
    return mark


async def _import(
    store: Store,
    file: TableFile,
    account_id: int,
    defaults: ImportDefaults,
    mark: ImportProgress | None,
    traps: TrapAddresses,
    *,
    lift: bool,
) -> ImportTally:
    """Record a file's consents behind ``mark``; nothing if None. Bad records are reported on standard error."""
    from mta.store.permission.import_progress import ImportProgress

    tally = ImportTally(read=mark.records if mark else 0)
    by = f"{operator()}, {Path(file.name).name}"
    with progress("importing", file.size) as show:
        try:
            chunks = _chunks(records.read(file, defaults, skip=tally.read))
            chunk = next(chunks, None)
            while chunk:
                good = _good(file.name, chunk, tally)
                ahead = asyncio.create_task(asyncio.to_thread(next, chunks, None))  # read while these are written
                try:
                    if mark:
                        here = ImportProgress(mark.file, tally.read)
                        tally.add(
                            await store.consents.record(account_id, good, by=by, lift=lift, mark=here, traps=traps)
                        )
                finally:
                    chunk = await ahead
                show(file.octets)
            if mark:
                end = ImportProgress(mark.file, tally.read, finished=True)
                await store.consents.record(account_id, [], by=by, mark=end)
        except UnusableFile as error:
            fail(f"{file.name}: {error}", status=2)
        except StoreUnavailable as error:
            fail(f"database connection lost ({error}); import the file again: it resumes where it stopped")
    return tally


def _chunks(found: Iterator[Given | BadRow]) -> Iterator[list[Given | BadRow]]:
    while chunk := list(islice(found, CHUNK)):
        yield chunk


def _good(file: str, chunk: Sequence[Given | BadRow], tally: ImportTally) -> list[Given]:
    """Return the records that can be used; report the others."""
    good: list[Given] = []
    for record in chunk:
        tally.read += 1
        if isinstance(record, BadRow):
            tally.bad += 1
            print(f"{file}:{record.line}: {record.text}", file=sys.stderr)
        else:
            good.append(record)
    return good


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(f"--zone {name!r} is not known; use a name such as Europe/Amsterdam", status=2)
