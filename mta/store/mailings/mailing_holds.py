"""What waits in the queue for its mailing: let go, kept back or made to fail, as the mailing now stands.

A message can be judged by what its mailing was a moment ago. So everything here starts from what the mailing is now and
brings its rows in line with it: after each change of a mailing, and now and then for all that wait (``sweep``).

It must never let go what waits for something else (an account's suspension, an operator), nor a mailing that nobody has
confirmed.

*Limits.* Works in pieces of ``CHUNK`` rows, each a transaction: between two of them a part has gone. What is being
transmitted at this moment is not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mta.store.postgres.database import Connection, Database
from mta.store.queue import queue
from policy.accounts.mailing import NO_ORIGIN, SAMPLED, STOPPED, UNAPPROVED, UNCONFIRMED, held_by_sampling

CHUNK = 5000  # rows in one transaction
SECONDS = 60.0  # for one of them

_MAILING = """
select m.*, s.origin is not null as known, s.approved_at is not null as approved
from mailing m left join list_source s on s.account_id = m.account_id and s.name = m.list
where m.id = $1 for update of m"""


def _moving(which: str, change: str) -> str:
    """A statement that moves at most $5 rows and says so. $3, $4: kind and reason of the event; $6: how the holds
    that are meant begin."""
    return f"""
with one as (
    select message_id, recipient_index from queue
    where mailing = $1 and account_id = $2 and {which} order by message_id, recipient_index limit $5 for update
),
changed as (
    update queue q set {change} from one where q.message_id = one.message_id and q.recipient_index = one.recipient_index
    returning q.message_id, q.recipient_index, q.lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, $3, jsonb_build_object('reason', $4::text) from changed
)
select count(*) as rows, count(lease) as leased from changed"""  # noqa: S608 - our own text, values as parameters


_WAITS = """held is not null and held like any($6::text[])
        and split_part(held, ':', 1) = any(array(select split_part(begin, ':', 1) from unnest($6::text[]) begin))"""
# A message may wait for something else besides: each reason is a line, the mailing's comes first.
_OTHERS = r"nullif(regexp_replace(q.held, '^[^\n]*\n?', ''), '')"
_LET_GO = _moving(_WAITS, f"held = {_OTHERS}, due_at = least(now(), q.expires_at)")
_HOLD_ANEW = _moving(_WAITS, rf"held = $4 || coalesce(E'\n' || {_OTHERS}, '')")
_HOLD = _moving("held is null and bounce is null and $6::text[] is not null", "held = $4")
_BOUNCE = _moving(
    "bounce is null and $6::text[] is not null", "bounce = $4, held = null, due_at = least(now(), q.expires_at)"
)

# Steps from one mailing to the next through the index, so that a million rows that wait cost no more than one.
_WAITING = """
with recursive waiting as (
    (select mailing from queue where mailing is not null and held is not null order by mailing limit 1)
    union all
    select (
        select mailing from queue where mailing > waiting.mailing and held is not null order by mailing limit 1
    ) from waiting where waiting.mailing is not null
)
select m.id from waiting join mailing m on m.id = waiting.mailing
where m.confirmed_at is not null
union
select id from mailing where stopped is not null and changed_at > now() - interval '2 minutes'"""


@dataclass(frozen=True, slots=True)
class QueueMoved:
    """Recipients in the queue: let go, kept back, or made to fail."""

    released: int = 0
    held: int = 0
    bounced: int = 0

    def __add__(self, other: QueueMoved) -> QueueMoved:
        return QueueMoved(self.released + other.released, self.held + other.held, self.bounced + other.bounced)


async def settle(database: Database, mailing_id: str) -> QueueMoved:
    """Bring what is queued of a mailing in line with what the mailing is now. Raises StoreUnavailable."""
    moved = QueueMoved()
    while step := await database.retried(lambda connection: _step(connection, mailing_id), seconds=SECONDS):
        moved += step
    return moved


async def sweep(database: Database) -> QueueMoved:
    """The same for all mailings of which something waits, and for those that were stopped of late."""
    async with database.session(SECONDS) as connection:
        ids = [row["id"] for row in await connection.fetch(_WAITING)]
    moved = QueueMoved()
    for mailing_id in ids:
        moved += await settle(database, mailing_id)
    return moved


async def _step(connection: Connection, mailing_id: str) -> QueueMoved | None:
    """Move at most CHUNK rows; None when there is nothing left to do."""
    mailing = await connection.fetchrow(_MAILING, mailing_id)
    if mailing is None:
        return None
    if mailing["stopped"] is not None:
        reason = f"{STOPPED}{mailing['stopped']}"
        if mailing["stop_bounces"]:
            bounced = await _move(connection, _BOUNCE, mailing, "bounced", reason)
            return QueueMoved(bounced=bounced) if bounced else None
        held = await _move(connection, _HOLD, mailing, "held", reason)
        return QueueMoved(held=held) if held else None
    if mailing["confirmed_at"] is None:
        return None
    waited = [UNCONFIRMED, STOPPED]
    if mailing["known"]:
        waited.append(NO_ORIGIN)
    if mailing["approved"]:
        waited.append(UNAPPROVED)
    if mailing["sample"] is None or mailing["released_at"] is not None:
        released = await _move(connection, _LET_GO, mailing, "released", _thanks_to(mailing), begins=(*waited, SAMPLED))
        return QueueMoved(released=released) if released else None
    return await _sample(connection, mailing, waited)


def _thanks_to(mailing: Any) -> str:
    """Whose word lets it go."""
    if mailing["released_at"] is not None:
        return f"mailing released by {mailing['released_by']}"
    return f"mailing confirmed by {mailing['confirmed_by']}"


async def _sample(connection: Connection, mailing: Any, waited: Sequence[str]) -> QueueMoved | None:
    """Let go as many as belong to the sample; the others wait for somebody to look at it."""
    room = min(CHUNK, mailing["sample"] - mailing["sampled"])
    why = _thanks_to(mailing)
    released = await _move(connection, _LET_GO, mailing, "released", why, begins=waited, most=room) if room else 0
    if released:
        await connection.execute(
            "update mailing set sampled = sampled + $2, changed_at = now() where id = $1", mailing["id"], released
        )
        return QueueMoved(released=released)
    reason = held_by_sampling(mailing["id"], mailing["name"], mailing["list"], mailing["sample"])
    held = await _move(connection, _HOLD_ANEW, mailing, "held", reason, begins=waited)
    return QueueMoved(held=held) if held else None


async def _move(
    connection: Connection,
    statement: str,
    mailing: Any,
    kind: str,
    reason: str,
    *,
    begins: Sequence[str] = (),
    most: int = CHUNK,
) -> int:
    """How many rows were moved. Workers that hold some of them in memory are told to give them back."""
    patterns = [f"{begin}%" for begin in begins]
    row = await connection.fetchrow(statement, mailing["id"], mailing["account_id"], kind, reason, most, patterns)
    assert row is not None
    if row["leased"]:
        await connection.execute("select pg_notify($1, '')", queue.CHANNEL)
    return int(row["rows"])
