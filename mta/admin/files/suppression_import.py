"""Files of suppressions, for commands and for jobs: checked from end to end, then written chunk by chunk.

Invariants: a file with mistakes changes nothing, unless the good lines of it are wanted. Each chunk is written with how
far the import is, so the same file may be handed in again: it resumes where it stopped. An account suppresses for
itself only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mta.admin.context import AdminContext
from mta.admin.files.suppression_lines import SuppressionLine, read
from mta.admin.files.table_file import BadRow, TableFile
from mta.store.permission.import_progress import ImportProgress
from policy.permission.suppression import SuppressionRequest

CHUNK = 500  # lines in one transaction
ALL_ACCOUNTS = 0  # as the store writes it


@dataclass(frozen=True, slots=True)
class SuppressionImport:
    """How a file is read. ``account``: for lines that name none; None: they hold for all accounts. ``accounts``: what
    lines may name, with their ids. ``reason``: for lines without one. ``by``: who imports it."""

    account: int | None
    accounts: Mapping[str, int]
    reason: str
    by: str

    @classmethod
    async def open(cls, context: AdminContext, account: str | None, reason: str) -> SuppressionImport:
        """Raises NotFound, StoreUnavailable."""
        scope, own = await context.account_filter(account), context.actor.account_id
        names = await context.account_names()
        known = {name: number for number, name in names.items() if own in (None, number)}
        return cls(scope, known, reason, context.actor.name)


@dataclass(slots=True)
class SuppressionCounts:
    """How far an import is. ``good``, ``bad``: lines; ``done``: of the good ones; ``fresh``: addresses that were not
    suppressed; ``cancelled``: queued copies."""

    good: int = 0
    bad: int = 0
    done: int = 0
    resumed: int = 0
    fresh: int = 0
    cancelled: int = 0

    @property
    def known(self) -> int:
        """Addresses that were suppressed before."""
        return self.done - self.resumed - self.fresh

    @property
    def result(self) -> dict[str, Any]:
        names = ("good", "bad", "done", "fresh", "known", "cancelled")
        return {name: getattr(self, name) for name in names}


async def check(file: TableFile, how: SuppressionImport, counts: SuppressionCounts) -> AsyncIterator[list[BadRow]]:
    """Count the lines; yield the bad ones, chunk by chunk. Raises UnusableFile."""
    lines = _lines(file, how)
    while chunk := await asyncio.to_thread(_next, lines):
        bad = [each for each in chunk if isinstance(each, BadRow)]
        counts.good, counts.bad = counts.good + len(chunk) - len(bad), counts.bad + len(bad)
        yield bad


async def begin(context: AdminContext, file: TableFile, how: SuppressionImport, account: str | None) -> ImportProgress:
    """Return how far a file was imported before, read in this way. Raises StoreUnavailable."""
    mark = await asyncio.to_thread(file.digest, how.reason, account)
    return await context.store.suppressions.begin_import(mark)


async def apply(
    context: AdminContext, file: TableFile, how: SuppressionImport, counts: SuppressionCounts, mark: ImportProgress
) -> AsyncIterator[None]:
    """Suppress what the good lines behind ``mark`` say; yield once a chunk is written and counted.

    Raises UnusableFile, StoreUnavailable.
    """
    suppressions, counts.done, counts.resumed = context.store.suppressions, mark.records, mark.records
    good = (each for each in _lines(file, how) if isinstance(each, SuppressionLine))
    lines = islice(good, mark.records, None)
    while chunk := await asyncio.to_thread(_next, lines):
        end = counts.done + len(chunk)
        requests = [_request(context, file, how, each) for each in chunk if isinstance(each, SuppressionLine)]
        here = ImportProgress(mark.file, end, finished=end >= counts.good)
        applied = await suppressions.apply(requests, here)
        counts.done, counts.fresh, counts.cancelled = (
            end,
            counts.fresh + applied.fresh,
            counts.cancelled + applied.pulled,
        )
        yield


def _lines(file: TableFile, how: SuppressionImport) -> Iterator[SuppressionLine | BadRow]:
    for each in read(file, how.reason):
        if isinstance(each, SuppressionLine) and each.account and each.account not in how.accounts:
            yield BadRow(each.line, f"there is no account {each.account!r}")
        else:
            yield each


def _next(lines: Iterator[SuppressionLine | BadRow]) -> list[SuppressionLine | BadRow]:
    return list(islice(lines, CHUNK))


def _request(
    context: AdminContext, file: TableFile, how: SuppressionImport, line: SuppressionLine
) -> SuppressionRequest:
    scope = how.accounts[line.account] if line.account else how.account
    return SuppressionRequest(
        line.key if line.address is None else context.store.suppressions.key(line.address),
        scope or ALL_ACCOUNTS,
        line.reason,
        "import",
        line.topic,
        line.address,
        line.detail,
        f"by {how.by}, {Path(file.name).name} line {line.line}",
        by=how.by,
        expires_at=line.until,
    )
