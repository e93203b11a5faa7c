"""``mta consent import``: a file of consents into the ledger, chunk by chunk.

Invariants: no record is counted as written before it is. An import that was interrupted resumes where it stopped.

Limitations: the name noted is that of the operating system's user.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from mta.admin.files.consent_fields import ImportDefaults
from mta.admin.files.table_file import TableFile, UnusableFile
from mta.cli.consent.findings import text_of
from mta.cli.context import load_settings, with_admin
from mta.cli.options import ConfigOption, DryRunOption
from mta.cli.output import fail, progress
from mta.store.postgres.errors import StoreUnavailable

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.files.consent_import import ConsentCounts
    from mta.store.permission.address_lists import RecordedFinding
    from mta.store.permission.import_progress import ImportProgress

OfAccountOption = Annotated[
    str, typer.Option("--account", "-a", metavar="NAME", help="The account to which consent was given.")
]
LiftOption = Annotated[
    bool,
    typer.Option(
        "--lift", help="Lift suppressions by an unsubscribe or revocation that a complete, newer consent answers."
    ),
]


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
    from mta.admin.consents import require_lift
    from mta.admin.desk import list_findings
    from mta.admin.files import consent_import
    from mta.admin.files.import_jobs import CONSENTS

    defaults = ImportDefaults(datetime.now(UTC), _zone(zone), topics, basis)

    async def work(context: AdminContext) -> tuple[ConsentCounts, list[RecordedFinding]]:
        owner = (await context.account(account)).account.id
        await require_lift(context, owner, lift=lift)
        if dry_run:
            return await _import(context, owner, file, defaults, None, lift=lift), []
        mark = await consent_import.begin(context, owner, file, defaults, lift=lift)
        mark = replace(mark, records=0, finished=False) if force else _resumed(file, mark)
        async with context.audited(CONSENTS, file.name, account_id=owner) as entry:
            counts = await _import(context, owner, file, defaults, mark, lift=lift)
            entry.after.update(counts.result, lift=lift)
        found = await list_findings.check(context.store, context.profiles().handling)
        return counts, [each for each in found if each.file == mark.file.hex()]

    try:
        with TableFile.open(path) as file:
            counts, findings = with_admin(load_settings(config), work)
    except OSError as error:
        fail(f"{path}: cannot be read: {error.strerror}", status=2)
    _print(counts, findings)
    if counts.bad:
        raise typer.Exit(1)


def _resumed(file: TableFile, mark: ImportProgress) -> ImportProgress:
    """Say how far the file was imported before; end the command if that was all of it."""
    if mark.finished:
        fail(f"{file.name} was imported before, all {mark.records} records (--force imports it again)", status=0)
    if mark.records:
        print(f"Resuming after the first {mark.records} records, which were imported before.", file=sys.stderr)
    return mark


async def _import(
    context: AdminContext,
    account_id: int,
    file: TableFile,
    defaults: ImportDefaults,
    mark: ImportProgress | None,
    *,
    lift: bool,
) -> ConsentCounts:
    """Record a file's consents behind ``mark``; nothing if None. Bad records are reported on standard error."""
    from mta.admin.files.consent_import import ConsentCounts, record_all

    counts = ConsentCounts()
    by = f"{context.actor.name}, {Path(file.name).name}"
    with progress("importing", file.size) as show:
        try:
            async for bad in record_all(context, account_id, file, defaults, counts, mark, by=by, lift=lift):
                for row in bad:
                    print(f"{file.name}:{row.line}: {row.text}", file=sys.stderr)
                show(file.octets)
        except UnusableFile as error:
            fail(f"{file.name}: {error}", status=2)
        except StoreUnavailable as error:
            fail(f"database connection lost ({error}); import the file again: it resumes where it stopped")
    return counts


def _print(counts: ConsentCounts, findings: Sequence[RecordedFinding]) -> None:
    print(f"{counts.read} records read: {counts.fresh} recorded, {counts.known} already recorded, {counts.bad} bad.")
    if counts.cancelled:
        print(f"{counts.cancelled} queued copies cancelled for revoked consents.")
    if counts.lifted:
        print(f"{counts.lifted} suppressions lifted.")
    if counts.lacking:
        print("Some cannot be used yet. Missing evidence:")
        for name, count in sorted(counts.lacking.items(), key=lambda each: -each[1]):
            print(f"  {count:>7}  {described(name)}")
    for each in findings:
        wait = "; the account's mailings wait for a decision" if each.hold else ""
        print(f"Finding {each.id}: {text_of(each)}{wait} (mta consent findings).")


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        fail(f"--zone {name!r} is not known; use a name such as Europe/Amsterdam", status=2)
