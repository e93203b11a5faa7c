"""The clocks of complaint cases: notify accounts of new cases, act on deadlines, remind the desk.

Deadlines are compared with the clock of the database, so they survive restarts and do not depend on the clocks of
machines. The cases of an account are processed in one transaction with its letters: an account counts as notified if
and only if the letter is queued. Several machines may do this at the same time.

Invariants: complaints from feedback loops wait for ``QUIET`` and are then sent in one letter, so that an account does
not get a letter for every complaint.

Limitations: the argument ``now`` is for tests; the service uses the clock of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from mta.store.journal import account_changes
from mta.store.journal.account_changes import Changes
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.queue import SECONDS
from mta.store.reputation import case_records
from mta.store.reputation.case_records import say
from policy.reputation.complaint import (
    BY_US,
    Case,
    CaseEventKind,
    Clocks,
    Occasion,
    Source,
    Step,
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

_UNPROVEN = """
select distinct account_id from complaint_case
where unproven_at is not null and not proof_asked and state in ('sent', 'overdue', 'suspended')"""

_TO_PROVE = f"""
where c.account_id = $1 and c.unproven_at is not null and not c.proof_asked
    and c.state in ('sent', 'overdue', 'suspended') order by c.id limit {AT_ONCE} for update of c"""


class Desk(Protocol):
    """The inputs from the configuration."""

    def clocks(self, profile: str) -> Clocks: ...

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        """Return the letter to the account of ``cases``, with our remark; None if there is no address to send it to."""
        ...

    def reminder(self, cases: Sequence[Case], now: datetime) -> NewMessage | None:
        """Return the mail to the desk about answers that wait for it; None if it has no address."""
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """The result of a round: cases notified, cases whose time ran out, cases whose answer waits for the desk too long,
    and cases whose account has no contact."""

    told: int = 0
    over: int = 0
    waiting: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()

    def __add__(self, other: Rung) -> Rung:
        return Rung(
            self.told + other.told,
            self.over + other.over,
            self.waiting + other.waiting,
            self.unheard + other.unheard,
        )


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
        for account_id in await self._accounts(_UNPROVEN):
            rung += await self._changes.change(partial(self._ask_for_proof, desk, account_id, now), seconds=SECONDS)
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
        steps = [run_out(case, desk.clocks(case.profile), now) for case in cases]
        waiting = [step.case for step in steps if CaseEventKind.REMINDED in step.happened]
        if waiting and (mail := desk.reminder(waiting, now)):
            await enqueue.insert(connection, [(mail, None)], self._secrets)
        unheard = await self._take(connection, desk, steps, now)
        return Rung(over=len(steps) - len(waiting), waiting=tuple(case.number for case in waiting), unheard=unheard)

    async def _ask_for_proof(self, desk: Desk, account_id: int, at: datetime | None, connection: Connection) -> Rung:
        """Tell the account, once a case, that an answer came which anyone may have written, and how to prove it."""
        await account_changes.lock(connection, account_id)
        cases = await case_records.find(connection, _TO_PROVE, account_id)
        if not cases:
            return Rung()
        await connection.execute(
            "update complaint_case set proof_asked = true where id = any($1::bigint[])", [case.id for case in cases]
        )
        now = at or await moment(connection)
        return Rung(unheard=tuple(await post(connection, desk, self._secrets, Occasion.UNPROVEN, cases, now)))

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
    letter = await asyncio.to_thread(desk.letter, occasion, cases, now, remark)  # PDFs take a while
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
