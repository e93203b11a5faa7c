"""Complaint cases: open, answer, judge, close, record their costs, and act on their deadlines.

Each operation is one transaction: the case, its history, the account's status and queue, the events for its webhooks.
Deadlines are compared with the clock of the database, so they survive restarts and do not depend on the clocks of
machines. The cases of an account are processed in one transaction with its letters: an account counts as notified if
and only if the letter is queued. Several machines may do this at the same time.

Invariants: nothing that ``policy.reputation.complaint`` rejects is written. Complaints from feedback loops wait for
``QUIET`` and are then sent in one letter, so that an account does not get a letter for every complaint.

Limitations: operations lock the account first, so two on one account wait for each other. The argument ``now`` is for
tests; the service uses the clock of the database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson

from mta.mail.reply import sanitise
from mta.store.journal import account_changes
from mta.store.journal.account_changes import Changes
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.queue import SECONDS
from mta.store.reputation import case_records
from mta.store.reputation.case_records import CaseEntry, CaseError, open_case, say
from policy.accounts.account import AccountStatus
from policy.reputation.complaint import (
    BY_US,
    EVIDENCE,
    Case,
    CaseEventKind,
    CaseState,
    Clocks,
    Complaint,
    Occasion,
    Source,
    Step,
    StepRefused,
    agree,
    answer,
    close,
    is_persistent,
    reject,
    run_out,
    tell,
)

QUIET = timedelta(minutes=15)  # between two letters about feedback loops
AT_ONCE = 200  # cases of an account in one transaction and one letter

_WAITING = """
select account_id from complaint_case c where state = 'open'
group by account_id
having bool_or(urgent or source <> 'feedback_loop') or not exists (
    select from complaint_case t
    where t.account_id = c.account_id and t.told_at > coalesce($1::timestamptz, now()) - $2::interval
)"""

_DUE = "select distinct account_id from complaint_case where due_at <= coalesce($1::timestamptz, now())"

_OPEN = f"""
where c.account_id = $1 and c.state = 'open' order by c.urgent desc, c.source = 'regulator' desc, c.id limit {AT_ONCE}
for update of c"""

_OVER = f"where c.account_id = $1 and c.due_at <= $2 order by c.id limit {AT_ONCE} for update of c"

_CSA = """
select count(*) from complaint_case
where account_id = $1 and source = 'csa' and opened_at > $2 and upheld is distinct from false"""


class Desk(Protocol):
    """The inputs from the configuration."""

    def clocks(self, profile: str) -> Clocks: ...

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        """Return the letter to the account of ``cases``, with our remark; None if there is no address to send it to."""
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """The result of a round: cases notified, cases whose time ran out, and cases whose account has no contact."""

    told: int = 0
    over: int = 0
    unheard: tuple[str, ...] = ()

    def __add__(self, other: Rung) -> Rung:
        return Rung(self.told + other.told, self.over + other.over, self.unheard + other.unheard)


class CaseClocks:
    """Made by ``Cases``."""

    def __init__(self, database: Database, changes: Changes, secrets: Secrets) -> None:
        self._database, self._changes, self._secrets = database, changes, secrets

    async def ring(self, desk: Desk, now: datetime | None = None) -> Rung:
        """Notify accounts of new cases, and act on deadlines that have passed. Raises StoreUnavailable."""
        rung = Rung()
        for account_id in await self._accounts(_WAITING, now, QUIET):
            rung += await self._changes.change(partial(self._tell, desk, account_id, now), seconds=SECONDS)
        for account_id in await self._accounts(_DUE, now):
            rung += await self._changes.change(partial(self._run_out, desk, account_id, now), seconds=SECONDS)
        return rung

    async def _accounts(self, statement: str, *values: object) -> list[int]:
        async with self._database.session() as connection:
            return [row["account_id"] for row in await connection.fetch(statement, *values)]

    async def _tell(self, desk: Desk, account_id: int, at: datetime | None, connection: Connection) -> Rung:
        await account_changes.lock(connection, account_id)
        cases = await case_records.find(connection, _OPEN, account_id)
        now = at or await moment(connection)
        steps = []
        for case in cases:
            clocks, notices = desk.clocks(case.profile), 0
            if case.source is Source.CSA:
                since = now - timedelta(seconds=clocks.csa_within)
                notices = await connection.fetchval(_CSA, account_id, since)
            steps.append(tell(case, clocks, now, notices))
        return Rung(told=len(steps), unheard=await self._take(connection, desk, steps, now))

    async def _run_out(self, desk: Desk, account_id: int, at: datetime | None, connection: Connection) -> Rung:
        await account_changes.lock(connection, account_id)
        now = at or await moment(connection)
        cases = await case_records.find(connection, _OVER, account_id, now)
        steps = [run_out(case, desk.clocks(case.profile)) for case in cases]
        return Rung(over=len(steps), unheard=await self._take(connection, desk, steps, now))

    async def _take(self, connection: Connection, desk: Desk, steps: Sequence[Step], now: datetime) -> tuple[str, ...]:
        """Take the steps and queue the letters; return the cases whose account has no contact."""
        unheard: list[str] = []
        for step in steps:
            await case_records.take_step(connection, step, by=BY_US)
        for occasion in Occasion:
            if cases := [step.case for step in steps if step.letter is occasion]:
                unheard += await post(connection, desk, self._secrets, occasion, cases, now)
        return tuple(unheard)


async def post(
    connection: Connection,
    desk: Desk,
    secrets: Secrets,
    occasion: Occasion,
    cases: Sequence[Case],
    now: datetime,
    remark: str = "",
) -> list[str]:
    """Queue the letter about ``cases`` within the caller's transaction; return the cases whose account has no
    contact."""
    letter = desk.letter(occasion, cases, now, remark)
    if letter is not None:
        await enqueue.insert(connection, [(letter, None)], secrets)
        return []
    for case in cases:
        said = {"text": "the account has no contact address (mta account set --contact)"}
        await say(connection, case.id, BY_US, CaseEventKind.NOTE, said)
    return [case.number for case in cases]


async def moment(connection: Connection) -> datetime:
    """Return the time of the database."""
    now: datetime = await connection.fetchval("select now()")
    return now


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
            return await case_records.find(connection, _LIST, account_id, wanted, since, limit)

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
            await case_records.take_step(connection, step, by=by, said={"reason": remark})
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
            await case_records.terminate(connection, done.case, why, by=by)
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
            (after,) = await case_records.find(connection, "where c.id = $1", case.id)
            return after

        return await self._act(case_id, work, None)

    async def note(self, case_id: int, text: str, *, by: str) -> None:
        """Add a remark to the history. Raises CaseError, StoreUnavailable."""

        async def work(connection: Connection, case: Case, _: datetime) -> None:
            await say(connection, case.id, by, CaseEventKind.NOTE, {"text": sanitise(text, TEXT)})

        await self._act(case_id, work, None)

    async def _taken(self, connection: Connection, step: Step, by: str, said: dict[str, Any]) -> CaseChanged:
        return CaseChanged(step.case, await case_records.take_step(connection, step, by=by, said=said))

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
        await case_records.write(connection, step.case)
        await case_records.tell_webhooks(connection, step.case, CaseEventKind.ANSWERED)
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
    case = _only(await case_records.find(connection, "where c.id = $1 for update of c", case_id), case_id)
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
