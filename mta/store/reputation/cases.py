"""Complaint cases: open, answer, judge, close, and record their costs.

Each operation is one transaction: the case, its history, the account's status and queue, the events for its webhooks.
``clocks`` handles the deadlines.

Invariants: nothing that ``policy.reputation.complaint`` rejects is written.

Limitations: operations lock the account first, so two on one account wait for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson

from mta.mail.reply import sanitise
from mta.store.journal import account_changes
from mta.store.journal.account_changes import Changes
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue.queue import SECONDS
from mta.store.reputation import case_rows, case_steps
from mta.store.reputation.case_clocks import CaseClocks, Desk, Rung, moment, post
from mta.store.reputation.case_opening import CaseError, open_case, say
from mta.store.reputation.case_rows import CaseEntry
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import (
    EVIDENCE,
    Case,
    CaseEventKind,
    CaseState,
    Clocks,
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

    async def open(self, complaint: Complaint) -> int:
        """Open a case, as ``open_case`` does. Raises CaseError, StoreUnavailable."""
        return await self._database.retried(lambda connection: open_case(connection, complaint))

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
            return await case_rows.find(connection, _LIST, account_id, wanted, since, limit)

    async def show(self, case_id: int) -> CaseStory:
        """Return a case with its history. Raises CaseError, StoreUnavailable."""
        async with self._database.session() as connection:
            case = _only(await case_rows.find(connection, "where c.id = $1", case_id), case_id)
            return CaseStory(case, await case_rows.history(connection, case_id))

    # operations

    async def answer(
        self, case_id: int, *, text: str, by: str, evidence: bytes = b"", now: datetime | None = None
    ) -> CaseChanged:
        """Record the account's answer. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection) -> CaseChanged:
            return await answer_case(connection, case_id, text=text, by=by, evidence=evidence, now=now)

        return await self._changes.change(work, seconds=SECONDS)

    async def reject(
        self, case_id: int, desk: Desk, *, reason: str, by: str, now: datetime | None = None
    ) -> CaseChanged:
        """Reject the answer and send the account the reason. Raises CaseError, StoreUnavailable."""
        remark = sanitise(" ".join(reason.split()), TEXT)

        async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
            step = reject(case, at)
            await case_steps.take(connection, step, by=by, said={"reason": remark})
            await post(connection, desk, self._secrets, Occasion.REJECTED, [step.case], at, remark)
            return CaseChanged(step.case)

        return await self._act(case_id, work, now)

    async def agree(self, case_id: int, *, terms: str, by: str, now: datetime | None = None) -> CaseChanged:
        """Record what was agreed; an account suspended for the case is resumed. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, _: datetime) -> CaseChanged:
            return await self._taken(connection, agree(case), by, {"terms": sanitise(terms, TEXT)})

        return await self._act(case_id, work, now)

    async def close(
        self,
        case_id: int,
        clocks: Clocks,
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
            done = await self._taken(connection, step, by, {"upheld": upheld, "reason": sanitise(reason, TEXT)})
            since = at - timedelta(seconds=clocks.upheld_within)
            count: int = await connection.fetchval(_UPHELD, case.account_id, since)
            if not upheld or ended or not is_persistent(count, clocks):
                return Closed(done.case, done.recipients, count)
            why = f"persistent spam: {count} complaints upheld within {clocks.upheld_within / 86400:g} days"
            if not may_terminate:
                raise CaseError(
                    f"{case.number} would be upheld complaint {count} and terminate the account "
                    f"({why}); confirm with --yes"
                )
            await case_steps.terminate(connection, done.case, why, by=by)
            return Closed(done.case, 0, count, terminated=True)

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
            (after,) = await case_rows.find(connection, "where c.id = $1", case.id)
            return after

        return await self._act(case_id, work, None)

    async def note(self, case_id: int, text: str, *, by: str) -> None:
        """Add a remark to the history. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, _: datetime) -> None:
            await say(connection, case.id, by, CaseEventKind.NOTE, {"text": sanitise(text, TEXT)})

        await self._act(case_id, work, None)

    async def _taken(self, connection: Connection, step: Step, by: str, said: dict[str, Any]) -> CaseChanged:
        return CaseChanged(step.case, await case_steps.take(connection, step, by=by, said=said))

    async def _act(
        self, case_id: int, work: Callable[[Connection, Case, datetime], Awaitable[T]], now: datetime | None
    ) -> T:
        """Run ``work`` with the case in its own transaction. Raises CaseError, StoreUnavailable."""
        return await self._changes.change(
            lambda connection: _with_case(connection, case_id, work, now), seconds=SECONDS
        )


async def answer_case(
    connection: Connection, case_id: int, *, text: str, by: str, evidence: bytes = b"", now: datetime | None = None
) -> CaseChanged:
    """Record the account's answer, within the caller's transaction. Raises CaseError before anything is written."""

    async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
        step = answer(case, at)
        said = {"text": sanitise(text, TEXT)}
        await say(connection, case.id, by, CaseEventKind.ANSWERED, said, evidence[:EVIDENCE] or None)
        await case_rows.write(connection, step.case)
        await case_steps.tell_webhooks(connection, step.case, CaseEventKind.ANSWERED)
        return CaseChanged(step.case)

    return await _with_case(connection, case_id, work, now)


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
    case = _only(await case_rows.find(connection, "where c.id = $1 for update of c", case_id), case_id)
    try:
        return await work(connection, case, now or await moment(connection))
    except StepRefused as error:
        raise CaseError(f"{case.number}: {error}") from None


def _only(found: Sequence[Case], case_id: int) -> Case:
    if not found:
        raise _unknown(case_id)
    return found[0]


def _unknown(case_id: int) -> CaseError:
    return CaseError(f"there is no case C-{case_id} (mta complaint list --all)")
