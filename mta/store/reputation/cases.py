"""Complaint cases: open, answer, judge, close, and record their costs. Their clocks are in ``case_clocks``.

Each operation is one transaction: the case, its history, the account's status and queue, the letter to the account,
the events for its webhooks.

Invariants: nothing that ``policy.reputation.complaint`` rejects is written.

Limitations: operations lock the account first, so two on one account wait for each other. The argument ``now`` is for
tests; the service uses the clock of the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson

from mta.mail.reply import sanitise
from mta.store.journal import account_changes
from mta.store.journal.account_changes import Changes
from mta.store.permission import suppression_writer
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue.queue import SECONDS
from mta.store.reputation import case_records
from mta.store.reputation.case_clocks import CaseClocks, Desk, Rung, moment, post
from mta.store.reputation.case_records import KEPT, CaseEntry, CaseError, StepTaken, open_case, say
from policy.accounts.account import AccountStatus
from policy.permission.suppression import SuppressionRequest
from policy.reputation.case_replies import CaseReplies
from policy.reputation.complaint import (
    EVIDENCE,
    Case,
    CaseEventKind,
    CaseState,
    Complaint,
    Occasion,
    Step,
    StepRefused,
    agree,
    answer,
    close,
    is_persistent,
    reject,
)

__all__ = ["CaseChanged", "CaseEntry", "CaseError", "CaseStory", "Cases", "Closed", "Desk", "Rung", "open_case"]

T = TypeVar("T")

TEXT = 20_000  # characters of an answer

_LIST = """
where ($1::bigint is null or c.account_id = $1) and ($2::text[] is null or c.state::text = any($2))
    and ($3::timestamptz is null or c.opened_at >= $3)
order by c.state = 'closed', c.urgent desc, c.source = 'regulator' desc, c.due_at nulls last, c.id limit $4"""

_SAME_LETTER = """
where c.account_id = $1 and c.told_at = $2 and c.urgent = $3 and c.answered_at is null
    and c.state in ('sent', 'overdue', 'suspended') order by c.id for update of c"""

_UNPROVEN = "select count(*) from case_event where case_id = $1 and kind = 'unproven'"

_UPHELD = """
select count(*) from complaint_case where account_id = $1 and upheld and opened_at > $2"""


@dataclass(frozen=True, slots=True)
class CaseStory:
    """A case with its history."""

    case: Case
    history: Sequence[CaseEntry]


@dataclass(frozen=True, slots=True)
class CaseChanged:
    """A case after an operation. ``recipients``: queued recipients that were released."""

    case: Case
    recipients: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed case. ``upheld``: upheld cases of the account within the profile's window. ``terminated``: the
    account was terminated for that."""

    case: Case
    recipients: int
    upheld: int
    terminated: bool = False


class Cases:
    """Made by ``Store``."""

    def __init__(self, database: Database, changes: Changes, secrets: Secrets) -> None:
        self._database, self._changes, self._secrets = database, changes, secrets
        self.clocks = CaseClocks(database, changes, secrets)
        self.replies = CaseReplies(secrets.derive("case replies"))

    async def open(self, complaint: Complaint, suppress: SuppressionRequest | None = None) -> int:
        """Open a case, as ``open_case`` does, and suppress whom it is about; the case's number is the detail of that.

        Raises CaseError, StoreUnavailable; then nothing was written.
        """
        requests = [suppress] if suppress else []

        async def work(connection: Connection) -> int:
            # Locks in the common order: ledgers and messages, then the case, which has the consents of before.
            locked = await suppression_writer.lock(connection, requests)
            case_id = await open_case(connection, complaint)
            detailed = [replace(each, detail=f"complaint C-{case_id}") for each in requests]
            await suppression_writer.write(connection, detailed, locked)
            return case_id

        return await self._database.retried(work, seconds=SECONDS)

    # queries

    async def list(
        self,
        account_id: int | None = None,
        *,
        states: Sequence[CaseState] | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Case]:
        """Return cases, most urgent first. Raises StoreUnavailable."""
        wanted = None if states is None else [state.value for state in states]
        async with self._database.session() as connection:
            return await case_records.find(connection, _LIST, account_id, wanted, since, limit)

    async def upheld(self, account_id: int, since: datetime) -> int:
        """Return how many cases of an account that were opened after ``since`` were upheld. Raises
        StoreUnavailable."""
        async with self._database.session() as connection:
            return await _upheld(connection, account_id, since)

    async def show(self, case_id: int) -> CaseStory:
        """Return a case with its history. Raises CaseError, StoreUnavailable."""
        async with self._database.session() as connection:
            case = _only(await case_records.find(connection, "where c.id = $1", case_id), case_id)
            return CaseStory(case, await case_records.history(connection, case_id))

    # operations

    async def answer(
        self, case_id: int, *, text: str, by: str, evidence: bytes = b"", now: datetime | None = None
    ) -> CaseChanged:
        """Record the account's answer. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
            return await _answered(connection, case, at, text=text, by=by, evidence=evidence)

        return await self._act(case_id, work, now)

    async def reject(
        self, case_id: int, desk: Desk, *, reason: str, by: str, now: datetime | None = None
    ) -> CaseChanged:
        """Reject the answer and send the account the reason. Raises CaseError, StoreUnavailable."""
        remark = sanitise(" ".join(reason.split()), TEXT)

        async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
            step = reject(case, at)
            await case_records.take_step(connection, step, by=by, said={"reason": remark})
            await post(connection, desk, self._secrets, Occasion.REJECTED, [step.case], at, remark)
            return CaseChanged(step.case)

        return await self._act(case_id, work, now)

    async def agree(self, case_id: int, desk: Desk, *, terms: str, by: str, now: datetime | None = None) -> CaseChanged:
        """Record what was agreed and tell the account; one suspended for the case is resumed. Raises CaseError,
        StoreUnavailable."""
        remark = sanitise(" ".join(terms.split()), TEXT)

        async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
            step = agree(case)
            taken = await case_records.take_step(connection, step, by=by, said={"terms": remark})
            await self._tell_outcome(connection, desk, step, taken, at, remark)
            return CaseChanged(step.case, taken.recipients)

        return await self._act(case_id, work, now)

    async def close(
        self,
        case_id: int,
        desk: Desk,
        *,
        upheld: bool,
        reason: str,
        by: str,
        may_terminate: bool = False,
        now: datetime | None = None,
    ) -> Closed:
        """Close a case as upheld or not. One upheld case too many terminates the account, if ``may_terminate``.

        Raises CaseError (also if the account would be terminated without ``may_terminate``), StoreUnavailable.
        """

        async def work(connection: Connection, case: Case, at: datetime) -> Closed:
            status = await account_changes.lock(connection, case.account_id)
            ended = status is AccountStatus.TERMINATED
            step = close(case, upheld=upheld, now=at, terminated=ended)
            said = {"upheld": upheld, "reason": sanitise(reason, TEXT)}
            taken = await case_records.take_step(connection, step, by=by, said=said)
            clocks = desk.clocks(case.profile)
            since = at - timedelta(seconds=clocks.upheld_within)
            count = await _upheld(connection, case.account_id, since)
            if not upheld or ended or not is_persistent(count, clocks):
                await self._tell_outcome(connection, desk, step, taken, at)
                return Closed(step.case, taken.recipients, count)
            why = f"persistent spam: {count} complaints upheld within {clocks.upheld_within / 86400:g} days"
            if not may_terminate:
                raise CaseError(
                    f"{case.number} would be upheld complaint {count} and terminate the account "
                    f"({why}); confirm that this is meant"
                )
            await case_records.terminate(connection, step.case, why, by=by)
            await post(connection, desk, self._secrets, Occasion.TERMINATED, [step.case], at)
            return Closed(step.case, 0, count, terminated=True)

        return await self._act(case_id, work, now)

    async def cost(self, case_id: int, cost: Mapping[str, Any], *, by: str) -> Case:
        """Add a cost to a case: ``what``, ``amount`` (decimal text), ``currency``. Raises CaseError,
        StoreUnavailable."""

        async def work(connection: Connection, case: Case, at: datetime) -> Case:
            entry = {**cost, "at": at, "by": by}
            await connection.execute(
                "update complaint_case set costs = costs || $2::jsonb where id = $1",
                case.id,
                orjson.dumps([entry]).decode(),
            )
            await say(connection, case.id, by, CaseEventKind.COST, entry)
            (after,) = await case_records.find(connection, "where c.id = $1", case.id)
            return after

        return await self._act(case_id, work, None)

    async def note(self, case_id: int, text: str, *, by: str) -> None:
        """Add a remark to the history. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, _: datetime) -> None:
            await say(connection, case.id, by, CaseEventKind.NOTE, {"text": sanitise(text, TEXT)})

        await self._act(case_id, work, None)

    async def _tell_outcome(
        self, connection: Connection, desk: Desk, step: Step, taken: StepTaken, now: datetime, remark: str = ""
    ) -> None:
        """Queue the letters about a step and about the account's resumption, if it has resumed."""
        for occasion in (step.letter, Occasion.RESUMED if taken.resumed else None):
            if occasion is not None:
                await post(connection, desk, self._secrets, occasion, [step.case], now, remark)

    async def _act(
        self, case_id: int, work: Callable[[Connection, Case, datetime], Awaitable[T]], now: datetime | None
    ) -> T:
        """Run ``work`` with the case in its own transaction. Raises CaseError, StoreUnavailable."""
        return await self._changes.change(
            lambda connection: _with_case(connection, case_id, work, now), seconds=SECONDS
        )


async def answer_letter(connection: Connection, case_id: int, *, text: str, by: str, evidence: bytes = b"") -> None:
    """Record the account's answer to the letter about a case, also for the cases that it was told of together with
    that one. Within the caller's transaction; raises CaseError before anything is written."""

    async def work(connection: Connection, case: Case, at: datetime) -> None:
        await _answered(connection, case, at, text=text, by=by, evidence=evidence)
        for other in await case_records.find(connection, _SAME_LETTER, case.account_id, case.told_at, case.urgent):
            await _answered(connection, other, at, text=text, by=by)

    await _with_case(connection, case_id, work, None)


async def note_unproven(connection: Connection, case_id: int, *, text: str, by: str, evidence: bytes = b"") -> None:
    """Put an answer that anyone may have written to a case, for people to judge, as long as it has not too many. It
    stops no clock. Within the caller's transaction; raises CaseError before anything is written."""

    async def work(connection: Connection, case: Case, at: datetime) -> None:
        if case.state is CaseState.CLOSED or await connection.fetchval(_UNPROVEN, case.id) >= KEPT:
            raise CaseError(f"{case.number}: it takes no more unproven answers")
        said = {"text": sanitise(text, TEXT)}
        await say(connection, case.id, by, CaseEventKind.UNPROVEN, said, evidence[:EVIDENCE] or None)
        if case.answered_at is None:
            await connection.execute("update complaint_case set unproven_at = $2 where id = $1", case.id, at)

    await _with_case(connection, case_id, work, None)


async def _answered(
    connection: Connection, case: Case, now: datetime, *, text: str, by: str, evidence: bytes = b""
) -> CaseChanged:
    step = answer(case, now)
    said = {"text": sanitise(text, TEXT)}
    await say(connection, case.id, by, CaseEventKind.ANSWERED, said, evidence[:EVIDENCE] or None)
    await case_records.write(connection, step.case)
    await case_records.tell_webhooks(connection, step.case, CaseEventKind.ANSWERED)
    return CaseChanged(step.case)


async def _with_case(
    connection: Connection,
    case_id: int,
    work: Callable[[Connection, Case, datetime], Awaitable[T]],
    now: datetime | None,
) -> T:
    """Lock the account, then the case, and run ``work`` with it. Raises CaseError."""
    account_id = await connection.fetchval("select account_id from complaint_case where id = $1", case_id)
    if account_id is None:
        raise _unknown(case_id)
    await account_changes.lock(connection, account_id)
    case = _only(await case_records.find(connection, "where c.id = $1 for update of c", case_id), case_id)
    try:
        return await work(connection, case, now or await moment(connection))
    except StepRefused as error:
        raise CaseError(f"{case.number}: {error}") from None


async def _upheld(connection: Connection, account_id: int, since: datetime) -> int:
    count: int = await connection.fetchval(_UPHELD, account_id, since)
    return count


def _only(found: Sequence[Case], case_id: int) -> Case:
    if not found:
        raise _unknown(case_id)
    return found[0]


def _unknown(case_id: int) -> CaseError:
    return CaseError(f"there is no case C-{case_id} (mta complaint list --all)")
