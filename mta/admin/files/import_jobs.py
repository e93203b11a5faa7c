"""Imports that take longer than a request: a file is kept, a job reads it, and tells how far it is.

Invariants: an account has its own files imported only. A file is deleted when its job has ended.

Limitations: an import runs in the process that took the file; if that ends, the same file resumes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mta.admin.consents import require_lift
from mta.admin.context import AdminContext
from mta.admin.errors import NotFound
from mta.admin.files import consent_import, suppression_import
from mta.admin.files.consent_fields import ImportDefaults
from mta.admin.files.consent_import import ConsentCounts
from mta.admin.files.suppression_import import SuppressionCounts, SuppressionImport
from mta.admin.files.table_file import BadRow, TableFile, UnusableFile
from mta.observe.log import get_logger
from mta.store.journal.jobs import RecordedJob
from mta.store.postgres.errors import StoreUnavailable

log = get_logger()

CONSENTS, SUPPRESSIONS = "consents.import", "suppressions.import"
MAX_ERRORS = 1000  # of a file that are kept

Counts = ConsentCounts | SuppressionCounts
Steps = Callable[[TableFile, Counts], AsyncIterator[Sequence[BadRow]]]


class ImportJobs:
    """The imports that run in this process. ``close`` lets them go; the same file resumes them."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    async def begin_consents(
        self, context: AdminContext, account: str, path: Path, *, lift: bool = False
    ) -> RecordedJob:
        """Import the consents in the file at ``path``, CSV or JSON lines, which is deleted afterwards; return the job.

        Raises Forbidden, NotFound, Refused, StoreUnavailable.
        """
        owner = (await context.account(account)).account
        await require_lift(context, owner.id, lift=lift)
        job = await self._begin(context, CONSENTS, owner.id, {"lift": lift})
        by = f"{context.actor.name}, job {job.id}"

        async def steps(file: TableFile, counts: Counts) -> AsyncIterator[Sequence[BadRow]]:
            assert isinstance(counts, ConsentCounts)
            defaults = ImportDefaults(datetime.now(UTC))
            mark = await consent_import.begin(context, owner.id, file, defaults, lift=lift)
            async for bad in consent_import.record_all(
                context, owner.id, file, defaults, counts, mark, by=by, lift=lift
            ):
                yield bad

        self._run(context, job.id, path, ConsentCounts(), steps)
        return job

    async def begin_suppressions(
        self, context: AdminContext, account: str | None, path: Path, *, reason: str, skip_bad: bool = False
    ) -> RecordedJob:
        """Import the suppressions in the file at ``path``, CSV or JSON lines, which is deleted afterwards; return the
        job. ``account``: for lines that name none; None: they hold for all accounts, if the actor is not of one.

        Raises NotFound, StoreUnavailable.
        """
        how = await SuppressionImport.open(context, account, reason)
        job = await self._begin(context, SUPPRESSIONS, how.account, {"reason": reason, "skip_bad": skip_bad})

        async def steps(file: TableFile, counts: Counts) -> AsyncIterator[Sequence[BadRow]]:
            assert isinstance(counts, SuppressionCounts)
            async for bad in suppression_import.check(file, how, counts):
                yield bad
            if counts.bad and not skip_bad:
                raise UnusableFile(f"{counts.bad} of {counts.good + counts.bad} lines are bad; nothing was imported")
            mark = await suppression_import.begin(context, file, how, account)
            async for _ in suppression_import.apply(context, file, how, counts, mark):
                yield ()

        self._run(context, job.id, path, SuppressionCounts(), steps)
        return job

    async def close(self) -> None:
        """Stop what runs."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _begin(
        self, context: AdminContext, kind: str, account_id: int | None, choices: dict[str, Any]
    ) -> RecordedJob:
        async with context.audited(kind, account_id=account_id) as entry:
            number = await context.store.jobs.begin(kind, account_id, context.actor.name)
            entry.after.update(job=number, **choices)
        return await find_job(context, number)

    def _run(self, context: AdminContext, number: int, path: Path, counts: Counts, steps: Steps) -> None:
        task = asyncio.create_task(_import(context, number, path, counts, steps), name=f"job {number}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def find_job(context: AdminContext, number: int) -> RecordedJob:
    """Raises NotFound, StoreUnavailable."""
    job = await context.store.jobs.find(number)
    if job is None or context.actor.account_id not in (None, job.account_id):
        raise NotFound(f"there is no job {number}")
    return job


async def _import(context: AdminContext, number: int, path: Path, counts: Counts, steps: Steps) -> None:
    """Import a file; its job tells how far it is, and how it ended."""
    jobs = context.store.jobs
    errors: list[dict[str, Any]] = []

    def note(row: BadRow) -> None:
        if len(errors) < MAX_ERRORS or row.line == 0:
            errors.append({"line": row.line, "text": row.text})

    state = "failed"
    try:
        with TableFile.open(path) as file:
            async for bad in steps(file, counts):
                for row in bad:
                    note(row)
                await jobs.move(number, counts.result, errors)
        state = "done"
    except UnusableFile as error:
        note(BadRow(0, str(error)))
    except Exception as error:
        unexpected = not isinstance(error, StoreUnavailable)
        log.error("import failed", job=number, kind=type(error).__name__, exc_info=unexpected)
        note(BadRow(0, "it stopped; hand the same file in again: it resumes where it stopped"))
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    with suppress(StoreUnavailable):
        await jobs.move(number, counts.result, errors, state)
