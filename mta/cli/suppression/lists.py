"""``mta suppression import`` and ``export``: suppression lists as files (``mta.admin.files.suppression_lines``).

Invariants: a file with mistakes is refused unless --skip-bad.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mta.admin.files.table_file import BadRow, TableFile, UnusableFile
from mta.cli.context import account_id, account_names, load_settings, with_admin, with_store
from mta.cli.options import AccountOption, ConfigOption, DryRunOption
from mta.cli.output import fail, output_file, progress
from mta.store.postgres.errors import StoreUnavailable

if TYPE_CHECKING:
    from mta.admin.context import AdminContext
    from mta.admin.files.suppression_import import SuppressionCounts, SuppressionImport
    from mta.store.permission.import_progress import ImportProgress
    from mta.store.store import Store
    from policy.base import Suppression

SHOWN_MISTAKES = 50


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", help="Columns: address, account, topic, reason, detail, until; or one."),
    ],
    account: Annotated[
        str | None,
        typer.Option("--account", "-a", metavar="NAME", help="For lines without an account; default: all accounts."),
    ] = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="For lines without a reason.")] = "imported",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good lines of a bad file.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Suppress every address of a file, CSV or JSON lines. One with mistakes is refused, with its bad lines.

    The first line may name the columns; without that, the first column is the address. Addresses that are suppressed
    already keep the stronger reason, so a file may be imported again; an import that was interrupted resumes.
    """
    from mta.admin.files import suppression_import
    from mta.admin.files.import_jobs import SUPPRESSIONS
    from mta.admin.files.suppression_import import SuppressionCounts, SuppressionImport

    counts = SuppressionCounts()

    async def work(context: AdminContext) -> None:
        how = await SuppressionImport.open(context, account, reason)
        async for bad in suppression_import.check(opened, how, counts):
            _complain(file, bad, counts.bad - len(bad))
        if counts.bad > SHOWN_MISTAKES:
            print(f"... and {counts.bad - SHOWN_MISTAKES} more", file=sys.stderr)
        if counts.bad and not skip_bad:
            lines = counts.good + counts.bad
            fail(f"{file}: {counts.bad} of {lines} lines are bad; nothing was imported (--skip-bad)")
        if dry_run:
            print(f"{counts.good} addresses would be suppressed.")
            return
        mark = await suppression_import.begin(context, opened, how, account)
        async with context.audited(SUPPRESSIONS, file, account_id=how.account, reason=reason) as entry:
            await _apply(context, opened, how, counts, mark)
            entry.after.update(counts.result)
        print(
            f"{counts.fresh} addresses suppressed, {counts.known} already suppressed; "
            f"{counts.cancelled} queued copies cancelled."
        )

    try:
        with TableFile.open(file) as opened:
            with_admin(load_settings(config), work, new=True)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", status=2)
    except UnusableFile as error:
        fail(f"{file}: {error}", status=2)
    if counts.bad:
        fail(f"{file}: {counts.bad} bad lines were left out")


def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE.csv", help="Default: standard output.")] = None,
    account: AccountOption = None,
    config: ConfigOption = None,
) -> None:
    """Write suppressions as CSV, in the format that `import` reads."""
    from mta.admin.files.suppression_lines import write

    async def work(store: Store) -> tuple[list[Suppression], Mapping[int, str]]:
        return await store.suppressions.list(await account_id(store, account)), await account_names(store)

    found, names = with_store(load_settings(config), work)
    with output_file(file) as opened:
        count = write(opened, found, names)
    if file is not None:
        print(f"{count} suppressions written to {file}.")


def _complain(file: Path, bad: Sequence[BadRow], before: int) -> None:
    """Report bad lines, of which there were ``before`` others."""
    for row in bad[: max(0, SHOWN_MISTAKES - before)]:
        print(f"{file}:{row.line}: {row.text}", file=sys.stderr)


async def _apply(
    context: AdminContext, opened: TableFile, how: SuppressionImport, counts: SuppressionCounts, mark: ImportProgress
) -> None:
    from mta.admin.files import suppression_import

    if mark.records:
        print(f"Resuming after the first {mark.records} addresses, which were imported before.", file=sys.stderr)
    with progress("importing", counts.good) as show:
        try:
            async for _ in suppression_import.apply(context, opened, how, counts, mark):
                show(counts.done)
        except StoreUnavailable as error:
            fail(
                f"database connection lost after {counts.done} of {counts.good} addresses ({error}); "
                "import the file again"
            )
