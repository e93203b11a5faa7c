"""Complaint cases: opened, answered, judged, closed, and what they cost.

Each act is one transaction: the case, its history, the account's status and its queue, the events for its webhooks.
``clocks`` does what time asks for.

It must never let an act through that ``policy.reputation.complaint`` refuses.

*Limits.* Acts lock the account first: two on one account wait for each other.
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
    """A case after an act; ``recipients``: queued ones that were released."""

    case: Case
    recipients: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """``upheld``: how many cases of the account are, within the profile's window. ``terminated``: it was, for that."""

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
        """A case by itself, see ``open_case``. Raises CaseError, StoreUnavailable."""
        return await self._database.retried(lambda connection: open_case(connection, complaint))

    # questions

    async def list(
        self,
        account_id: int | None = None,
        *,
        states: Sequence[CaseState] | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Case]:
        """The most pressing first. Raises StoreUnavailable."""
        wanted = None if states is None else [state.value for state in states]
        async with self._database.session() as connection:
            return await case_rows.find(connection, _LIST, account_id, wanted, since, limit)

    async def show(self, case_id: int) -> CaseStory:
        """Raises CaseError, StoreUnavailable."""
        async with self._database.session() as connection:
            case = _only(await case_rows.find(connection, "where c.id = $1", case_id), case_id)
            return CaseStory(case, await case_rows.history(connection, case_id))

    # acts

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
        """The answer will not do; the account is told why. Raises CaseError, StoreUnavailable."""
        remark = sanitise(" ".join(reason.split()), TEXT)

        async def work(connection: Connection, case: Case, at: datetime) -> CaseChanged:
            step = reject(case, at)
            await case_steps.take(connection, step, by=by, said={"reason": remark})
            await post(connection, desk, self._secrets, Occasion.REJECTED, [step.case], at, remark)
            return CaseChanged(step.case)

        return await self._act(case_id, work, now)

    async def agree(self, case_id: int, *, terms: str, by: str, now: datetime | None = None) -> CaseChanged:
        """What was agreed upon; an account that is suspended for it goes on. Raises CaseError, StoreUnavailable."""

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
        """The end of a case, justified or not. One upheld case too many ends the account, if ``may_terminate``.

        Raises CaseError (also if it would end the account and may not), StoreUnavailable.
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
                    f"{case.number} would be the account's upheld complaint number {count}, and end it for good "
                    f"({why}); say --yes if that is meant"
                )
            await case_steps.terminate(connection, done.case, why, by=by)
            return Closed(done.case, 0, count, terminated=True)

        return await self._act(case_id, work, now)

    async def cost(self, case_id: int, cost: Mapping[str, Any], *, by: str) -> Case:
        """Add what a case has cost: ``what``, ``amount`` (decimal text), ``currency``. Raises CaseError,
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
        """A remark for the history. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, _: datetime) -> None:
            await say(connection, case.id, by, CaseEventKind.NOTE, {"text": sanitise(text, TEXT)})

        await self._act(case_id, work, None)

    async def _taken(self, connection: Connection, step: Step, by: str, said: dict[str, Any]) -> CaseChanged:
        return CaseChanged(step.case, await case_steps.take(connection, step, by=by, said=said))

    async def _act(
        self, case_id: int, work: Callable[[Connection, Case, datetime], Awaitable[T]], now: datetime | None
    ) -> T:
        """Do ``work`` with the case in a transaction of its own. Raises CaseError, StoreUnavailable."""
        return await self._changes.change(
            lambda connection: _with_case(connection, case_id, work, now), seconds=SECONDS
        )


async def answer_case(
    connection: Connection, case_id: int, *, text: str, by: str, evidence: bytes = b"", now: datetime | None = None
) -> CaseChanged:
    """Record the account's answer, within the caller's transaction. Raises CaseError before anything was written."""

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
    """Do ``work`` with the case, its account locked first. Raises CaseError."""
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
