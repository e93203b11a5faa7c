"""Imports that take longer than a request: a file is kept, a job reads it, and tells how far it is.

Invariants: an account has its own files imported only, one at a time. A file has no name: it is gone with its job, and
with the process. All files of a process together have at most MOST octets.

Limitations: an import runs in the process that took the file; if that ends, the same file resumes it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import Any

from mta.admin.consents import require_lift
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NoRoom, NotFound, Refused
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
MAX_FILE = 2**30  # octets of one file
MOST = 2 * MAX_FILE  # octets of all files of a process
AGAIN = "hand the same file in again: it resumes where it stopped"

Counts = ConsentCounts | SuppressionCounts
Steps = Callable[[TableFile, Counts], AsyncIterator[Sequence[BadRow]]]


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """CSV or JSON lines as they come. ``most``: octets."""

    pieces: AsyncIterator[bytes]
    most: int = MAX_FILE


class ImportJobs:
    """The imports that run in this process. ``folder``: of the disk that their files are on; None: the system's."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._octets: dict[int | None, int] = {}  # of files that come or are read, by account; None: about all
        self._running: set[asyncio.Task[None]] = set()

    async def begin_consents(
        self, context: AdminContext, account: str, given: UploadedFile, *, lift: bool = False
    ) -> RecordedJob:
        """Take a file of consents and import it; return the job.

        Raises Forbidden, InvalidValue, NoRoom, NotFound, Refused, StoreUnavailable, and what its pieces raise.
        """
        owner = (await context.account(account)).account
        await require_lift(context, owner.id, lift=lift)

        async def steps(file: TableFile, counts: Counts) -> AsyncIterator[Sequence[BadRow]]:
            assert isinstance(counts, ConsentCounts)
            by = f"{context.actor.name}, {file.name}"
            defaults = ImportDefaults(datetime.now(UTC))
            mark = await consent_import.begin(context, owner.id, file, defaults, lift=lift)
            async for bad in consent_import.record_all(
                context, owner.id, file, defaults, counts, mark, by=by, lift=lift
            ):
                yield bad

        return await self._begin(context, CONSENTS, owner.id, {"lift": lift}, given, ConsentCounts(), steps)

    async def begin_suppressions(
        self, context: AdminContext, account: str | None, given: UploadedFile, *, reason: str, skip_bad: bool = False
    ) -> RecordedJob:
        """Take a file of suppressions and import it; return the job. ``account``: for lines that name none; None: they
        hold for all accounts, if the actor is not of one.

        Raises InvalidValue, NoRoom, NotFound, Refused, StoreUnavailable, and what its pieces raise.
        """
        how = await SuppressionImport.open(context, account, reason)

        async def steps(file: TableFile, counts: Counts) -> AsyncIterator[Sequence[BadRow]]:
            assert isinstance(counts, SuppressionCounts)
            async for bad in suppression_import.check(file, how, counts):
                yield bad
            if counts.bad and not skip_bad:
                raise UnusableFile(f"{counts.bad} of {counts.good + counts.bad} lines are bad; nothing was imported")
            mark = await suppression_import.begin(context, file, how, account)
            async for _ in suppression_import.apply(context, file, how, counts, mark):
                yield ()

        choices = {"reason": reason, "skip_bad": skip_bad}
        return await self._begin(context, SUPPRESSIONS, how.account, choices, given, SuppressionCounts(), steps)

    async def close(self) -> None:
        """Stop what runs; the same files resume it."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _begin(
        self,
        context: AdminContext,
        kind: str,
        account_id: int | None,
        choices: dict[str, Any],
        given: UploadedFile,
        counts: Counts,
        steps: Steps,
    ) -> RecordedJob:
        if account_id in self._octets:
            raise Refused("another import runs; wait until its job has ended")
        with ExitStack() as undo:
            self._octets[account_id] = 0
            undo.callback(self._octets.pop, account_id)
            file = undo.enter_context(await self._keep(account_id, given))
            async with context.audited(kind, account_id=account_id) as entry:
                number = await context.store.jobs.begin(kind, account_id, context.actor.name)
                entry.after.update(job=number, **choices)
            table = TableFile(f"job {number}", file, self._octets[account_id])
            task = asyncio.create_task(_import(context, number, table, counts, steps), name=table.name)
            self._running.add(task)
            undo.callback(self._running.discard, task)
            at_its_end = undo.pop_all()
            task.add_done_callback(lambda _: at_its_end.close())
        return await find_job(context, number)

    async def _keep(self, account_id: int | None, given: UploadedFile) -> BufferedRandom:
        """Raises InvalidValue, NoRoom, and what the pieces raise."""

        def allow(octets: int) -> None:
            if self._octets[account_id] + octets > given.most:
                raise InvalidValue("file", f"at most {given.most // 2**20} MB; for more: mta consent import FILE")
            if sum(self._octets.values()) + octets > MOST:
                raise NoRoom("there is no room for another import until those that run have ended")
            self._octets[account_id] += octets

        return await keep_file(given.pieces, self._folder, allow)


async def keep_file(pieces: AsyncIterator[bytes], folder: Path | None, allow: Callable[[int], None]) -> BufferedRandom:
    """Write what comes to a file without a name, which is gone once it is closed. ``allow``: raises if so many octets
    more are too many.

    Raises NoRoom, and what ``pieces`` raises.
    """
    file = await asyncio.to_thread(_without_name, folder)
    try:
        async for piece in pieces:
            allow(len(piece))
            await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(file.flush)
    except OSError as error:
        file.raw.close()  # without what could not be written
        log.error("file not kept", reason=str(error))
        raise NoRoom("the file cannot be written now") from None
    except BaseException:
        file.close()
        raise
    return file


def _without_name(folder: Path | None) -> BufferedRandom:
    return tempfile.TemporaryFile(dir=folder)


async def find_job(context: AdminContext, number: int) -> RecordedJob:
    """Raises NotFound, StoreUnavailable."""
    job = await context.store.jobs.find(number)
    if job is None or context.actor.account_id not in (None, job.account_id):
        raise NotFound(f"there is no job {number}")
    return job


async def _import(context: AdminContext, number: int, file: TableFile, counts: Counts, steps: Steps) -> None:
    """Import a file; its job tells how far it is, and how it ended."""
    jobs = context.store.jobs
    errors: list[dict[str, Any]] = []

    def note(row: BadRow) -> None:
        if len(errors) < MAX_ERRORS or row.line == 0:
            errors.append({"line": row.line, "text": row.text})

    state = "failed"
    try:
        async for bad in steps(file, counts):
            for row in bad:
                note(row)
            await jobs.move(number, counts.result, errors)
        state = "done"
    except UnusableFile as error:
        note(BadRow(0, str(error)))
    except asyncio.CancelledError:
        note(BadRow(0, f"the service was stopped; {AGAIN}"))
    except Exception as error:
        unexpected = not isinstance(error, StoreUnavailable)
        log.error("import failed", job=number, kind=type(error).__name__, exc_info=unexpected)
        note(BadRow(0, f"it stopped; {AGAIN}"))
    with suppress(StoreUnavailable):
        await jobs.move(number, counts.result, errors, state)
