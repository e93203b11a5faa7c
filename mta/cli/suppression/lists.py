"""``mta suppression import`` and ``export``: suppression lists as CSV.

How a file may be written is said in ``mta.admin.files.table_file``. With a header line, the columns of ``COLUMNS``
are found by name and others are ignored; without one, the first column is the address. A line without an account
holds for all accounts, unless the command says otherwise; one without a topic for all mail. A reason that is none of
ours is kept as the text of a manual one. Where only the hash of an address is known, ``key`` holds it: it is of use
to the installation that wrote it.

Invariants: a file is read whole and checked before its first line is used; a file with mistakes is refused unless
--skip-bad.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from mta.admin.files.table_file import BadRow, TableFile, UnusableFile, column_names, text_fault
from mta.cli.context import account_id, account_names, load_settings, with_store
from mta.cli.options import AccountOption, ConfigOption, DryRunOption, operator
from mta.cli.output import fail, output_file, progress
from mta.mail.address import Address, AddressError
from mta.store.postgres.errors import StoreUnavailable
from policy.permission.suppression import Reason, SuppressionRequest

if TYPE_CHECKING:
    from mta.store.permission.import_progress import ImportProgress
    from mta.store.store import Store
    from policy.base import Suppression

COLUMNS = ("address", "account", "topic", "reason", "detail", "rule", "since", "until", "key")
MAX_DETAIL = 200  # characters
CHUNK = 500  # lines in one transaction
SHOWN_MISTAKES = 50
ALL_ACCOUNTS = 0  # as the store writes it

_KEY = re.compile(r"[0-9a-f]{32}")
_REASONS = {reason.value: reason for reason in Reason}


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
    """Suppress every address of a CSV file. A file with mistakes is refused, with the numbers of its bad lines.

    The first line may name the columns; without that, the first column is the address. Addresses that are suppressed
    already keep the stronger reason, so a file may be imported again; an import that was interrupted resumes.
    """
    try:
        with TableFile.open(file) as opened:
            mark = opened.digest(reason, account)
            entries, mistakes = read(opened, reason)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", status=2)
    except UnusableFile as error:
        fail(f"{file}: {error}", status=2)

    async def work(store: Store) -> None:
        names = await account_names(store)
        requests, unknown = _requests(store, names, file, entries, await account_id(store, account))
        bad = sorted([*mistakes, *unknown], key=lambda mistake: mistake.line)
        for mistake in bad[:SHOWN_MISTAKES]:
            print(f"{file}:{mistake.line}: {mistake.text}", file=sys.stderr)
        if len(bad) > SHOWN_MISTAKES:
            print(f"... and {len(bad) - SHOWN_MISTAKES} more", file=sys.stderr)
        if bad and not skip_bad:
            fail(f"{file}: {len(bad)} of {len(requests) + len(bad)} lines are bad; nothing was imported (--skip-bad)")
        if dry_run:
            print(f"{len(requests)} addresses would be suppressed.")
        else:
            await _apply(store, requests, await store.suppressions.begin_import(mark))
        if bad:
            fail(f"{file}: {len(bad)} bad lines were left out")

    with_store(load_settings(config), work, new=True)


def export(
    file: Annotated[Path | None, typer.Argument(metavar="FILE.csv", help="Default: standard output.")] = None,
    account: AccountOption = None,
    config: ConfigOption = None,
) -> None:
    """Write suppressions as CSV, in the format that `import` reads."""

    async def work(store: Store) -> tuple[list[Suppression], Mapping[int, str]]:
        return await store.suppressions.list(await account_id(store, account)), await account_names(store)

    found, names = with_store(load_settings(config), work)
    with output_file(file) as opened:
        count = write(opened, found, names)
    if file is not None:
        print(f"{count} suppressions written to {file}.")


async def _apply(store: Store, requests: Sequence[SuppressionRequest], begun: ImportProgress) -> None:
    """Suppress in chunks, each of which is one transaction with how far the file is read; print the sums."""
    from mta.store.permission.import_progress import ImportProgress

    if begun.records:
        print(f"Resuming after the first {begun.records} addresses, which were imported before.", file=sys.stderr)
    fresh, cancelled, done = 0, 0, begun.records
    with progress("importing", len(requests)) as show:
        try:
            while done < len(requests):
                chunk = requests[done : done + CHUNK]
                end = done + len(chunk)
                applied = await store.suppressions.apply(
                    chunk, ImportProgress(begun.file, end, finished=end == len(requests))
                )
                fresh, cancelled, done = fresh + applied.fresh, cancelled + applied.pulled, end
                show(done)
        except StoreUnavailable as error:
            fail(f"database connection lost after {done} of {len(requests)} addresses ({error}); import the file again")
    known = len(requests) - begun.records - fresh
    print(f"{fresh} addresses suppressed, {known} already suppressed; {cancelled} queued copies cancelled.")


# The file


@dataclass(frozen=True, slots=True)
class SuppressionLine:
    """One line. ``address`` None: only its hash is known, ``key``. ``account``: "" if it names none. ``topic``: as in
    ``policy.base.Suppression``. ``until``: when it ends, None: never."""

    line: int
    address: Address | None
    account: str
    reason: Reason
    detail: str = ""
    topic: str = ""
    until: datetime | None = None
    key: bytes = b""


class _Wrong(ValueError):
    """What is wrong with a line."""


def read(file: TableFile, reason: str) -> tuple[list[SuppressionLine], list[BadRow]]:
    """Return the entries of a file, and its mistakes. ``reason``: for lines without one. Raises UnusableFile."""
    lines = list(_lines(file, reason))
    good = [line for line in lines if isinstance(line, SuppressionLine)]
    return good, [line for line in lines if isinstance(line, BadRow)]


def _lines(file: TableFile, reason: str) -> Iterator[SuppressionLine | BadRow]:
    """Yield every line that is not empty, except the header line."""
    columns = ["address"]
    for n, row in enumerate(file.rows()):
        if isinstance(row, BadRow):
            yield row
        elif n == 0 and "address" in (names := column_names(row[1])):
            columns = names
        else:
            line, cells = row
            yield _line(line, dict(zip(columns, cells, strict=False)), reason)


def _line(number: int, fields: Mapping[str, str], otherwise: str) -> SuppressionLine | BadRow:
    try:
        for name, text in fields.items():
            if fault := text_fault(text):
                raise _Wrong(f"{name}: {fault}")
        address, key = _address(fields)
        reason, detail = _reason(fields.get("reason") or otherwise, fields.get("detail", ""))
        until = _until(fields.get("until", ""), reason)
    except (_Wrong, AddressError) as error:
        return BadRow(number, str(error))
    account, topic = fields.get("account", ""), fields.get("topic", "")
    return SuppressionLine(number, address, account, reason, detail[:MAX_DETAIL], topic, until, key)


def _address(fields: Mapping[str, str]) -> tuple[Address | None, bytes]:
    text, key = fields.get("address", ""), fields.get("key", "").lower()
    if key and not text:
        if not _KEY.fullmatch(key):
            raise _Wrong(f"{key[:80]!r} is not a key: 32 hexadecimal digits, as `mta suppression export` writes them")
        return None, bytes.fromhex(key)
    try:
        return Address.parse(text), b""
    except AddressError as error:
        raise _Wrong(f"{text[:80]!r}: {error}") from None


def _reason(reason: str, detail: str) -> tuple[Reason, str]:
    if (known := _REASONS.get(reason.lower())) is not None:
        return known, detail
    return Reason.MANUAL, f"{reason}: {detail}" if detail else reason


def _until(text: str, reason: Reason) -> datetime | None:
    if not text:
        return None
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        raise _Wrong(f"until {text[:40]!r} is not a date: 2027-01-31 or 2027-01-31T12:00:00+00:00") from None
    if reason.permanent:
        raise _Wrong(f"a suppression for {reason.value} never expires: leave `until` empty")
    return until if until.tzinfo else until.replace(tzinfo=UTC)


def _requests(
    store: Store, names: Mapping[int, str], file: Path, entries: Sequence[SuppressionLine], account_id: int | None
) -> tuple[list[SuppressionRequest], list[BadRow]]:
    """Return what the store takes for each line, and the lines whose account does not exist."""
    ids = {name: number for number, name in names.items()}
    requests: list[SuppressionRequest] = []
    unknown: list[BadRow] = []
    who = operator()
    for entry in entries:
        if entry.account and entry.account not in ids:
            unknown.append(BadRow(entry.line, f"there is no account {entry.account!r}"))
            continue
        scope = ids[entry.account] if entry.account else account_id
        requests.append(
            SuppressionRequest(
                entry.key if entry.address is None else store.suppressions.key(entry.address),
                scope or ALL_ACCOUNTS,
                entry.reason,
                "import",
                entry.topic,
                entry.address,
                entry.detail,
                f"by {who}, {file.name} line {entry.line}",
                by=who,
                expires_at=entry.until,
            )
        )
    return requests, unknown


def write(file: TextIO, suppressions: Iterable[Suppression], names: Mapping[int, str]) -> int:
    """Write a header line and one line for each; return how many. ``names``: of accounts, by id."""
    from mta.store.postgres.secrets import PLACEHOLDER_DOMAIN

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for each in suppressions:
        account = "" if each.account_id is None else names.get(each.account_id, str(each.account_id))
        hashed = each.address.domain == PLACEHOLDER_DOMAIN  # a stand-in: the address is not known
        writer.writerow(
            (
                "" if hashed else str(each.address),
                account,
                each.topic,
                each.reason.value,
                each.detail,
                each.rule,
                each.since.isoformat(),
                each.until.isoformat() if each.until else "",
                each.address.local if hashed else "",
            )
        )
        count += 1
    return count
