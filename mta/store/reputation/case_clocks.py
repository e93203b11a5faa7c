"""The clocks of complaint cases: who is to be told, and whose time is over.

Deadlines are moments in the database, compared with the database's clock: they survive restarts, and no machine's
own clock matters. Each account's cases are dealt with in one transaction, with its letters: an account was told if
and only if the letter is queued. Several machines may do this at once.

It must never write to an account again and again within minutes because readers press a button: complaints from
feedback loops wait for ``QUIET`` and then go in one letter.

*Limits.* ``now`` moves the clock, for tests; the service leaves it to the database.
"""

from __future__ import annotations

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
from mta.store.reputation import case_rows, case_steps
from mta.store.reputation.case_opening import say
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
AT_ONCE = 200  # cases of one account in one transaction, and in one letter

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
    """What only the configuration knows."""

    def clocks(self, profile: str) -> Clocks: ...

    def letter(self, occasion: Occasion, cases: Sequence[Case], now: datetime, remark: str = "") -> NewMessage | None:
        """To the account of ``cases``, with a remark of ours; None if there is no address to write to."""
        ...


@dataclass(frozen=True, slots=True)
class Rung:
    """What a round came to: cases of which the account was told, whose time was over, and those of which no account
    could be told, for want of a contact."""

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
        """Tell accounts of what has been opened, and act where time is over. Raises StoreUnavailable."""
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
        cases = await case_rows.find(connection, _OPEN, account_id)
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
        cases = await case_rows.find(connection, _OVER, account_id, now)
        steps = [run_out(case, desk.clocks(case.profile)) for case in cases]
        return Rung(over=len(steps), unheard=await self._take(connection, desk, steps, now))

    async def _take(self, connection: Connection, desk: Desk, steps: Sequence[Step], now: datetime) -> tuple[str, ...]:
        """Take the steps and write the letters; the cases that could be told to nobody."""
        unheard: list[str] = []
        for step in steps:
            await case_steps.take(connection, step, by=BY_US)
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
    """Queue the letter about ``cases`` within the caller's transaction; the cases for which there is none."""
    letter = desk.letter(occasion, cases, now, remark)
    if letter is not None:
        await enqueue.insert(connection, [(letter, None)], secrets)
        return []
    for case in cases:
        said = {"text": "the account has no contact to write to (mta account set --contact)"}
        await say(connection, case.id, BY_US, CaseEventKind.NOTE, said)
    return [case.number for case in cases]


async def moment(connection: Connection) -> datetime:
    """The database's clock."""
    now: datetime = await connection.fetchval("select now()")
    return now
