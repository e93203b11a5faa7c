"""Bring what is queued of a mailing in line with the mailing: released, held or made to fail.

A message may be judged by what its mailing was a moment ago. So everything here starts from the mailing as it is now,
after each change of a mailing and regularly for all of which something is held (``sweep``).

Invariants: holds of other sources stay. Nothing that waits for a confirmation is released without one, nor what is not
the message that was confirmed (``content_check``).

Limitations: works in chunks of ``CHUNK`` recipients, each a transaction: between two of them a part has been done. A
delivery on the wire is not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mta.mail.hold import HoldSource
from mta.store.mailings import content_check
from mta.store.postgres.database import Connection, Database
from mta.store.queue import holds
from mta.store.queue.holds import of_mailing, of_waiting
from policy.accounts.mailing import MailingObstacle, sampling_hold, stop_hold

CHUNK = 5000  # recipients in one transaction
SECONDS = 60.0  # for one of them

_MAILING = """
select m.*, s.origin is not null as known, s.approved_at is not null as approved,
    exists (select from mailing_reference where mailing = m.id) as has_references
from mailing m left join list_source s on s.account_id = m.account_id and s.name = m.list
where m.id = $1 for update of m"""

_SAMPLED = "update mailing set sampled = sampled + $2, changed_at = now() where id = $1"

# Steps from one mailing to the next through the index, so that a million holds cost no more than one.
_WAITING = """
with recursive waiting as (
    (select mailing from hold where mailing is not null order by mailing limit 1)
    union all
    select (select mailing from hold where mailing > waiting.mailing order by mailing limit 1)
    from waiting where waiting.mailing is not null
)
select m.id from waiting join mailing m on m.id = waiting.mailing
where m.confirmed_at is not null or m.stopped is null
union
select id from mailing where stopped is not null and changed_at > now() - interval '2 minutes'"""


@dataclass(frozen=True, slots=True)
class QueueMoved:
    """Recipients in the queue that were released, held or made to fail; ``still_held``: how many of the released ones
    have other holds."""

    released: int = 0
    held: int = 0
    bounced: int = 0
    still_held: int = 0

    def __add__(self, other: QueueMoved) -> QueueMoved:
        return QueueMoved(
            self.released + other.released,
            self.held + other.held,
            self.bounced + other.bounced,
            self.still_held + other.still_held,
        )


async def settle(database: Database, mailing_id: str) -> QueueMoved:
    """Bring what is queued of a mailing in line with it. Raises StoreUnavailable."""
    await content_check.compare_held(database, mailing_id)
    moved = QueueMoved()
    while step := await database.retried(lambda connection: _step(connection, mailing_id), seconds=SECONDS):
        moved += step
    return moved


async def sweep(database: Database) -> QueueMoved:
    """Do so for all mailings of which something is held, and for those that were stopped recently."""
    async with database.session(SECONDS) as connection:
        ids = [row["id"] for row in await connection.fetch(_WAITING)]
    moved = QueueMoved()
    for mailing_id in ids:
        moved += await settle(database, mailing_id)
    return moved


async def _step(connection: Connection, mailing_id: str) -> QueueMoved | None:
    """Change at most CHUNK recipients; return None when nothing is left to do."""
    mailing = await connection.fetchrow(_MAILING, mailing_id)
    if mailing is None:
        return None
    work = _Work(connection, mailing)
    if mailing["stopped"] is not None:
        return await work.stop()
    if moved := await work.release(HoldSource.MAILING, [MailingObstacle.STOPPED]):
        return moved
    if mailing["confirmed_at"] is None:
        return None
    obstacles = [MailingObstacle.MATCHED] if mailing["has_references"] else content_check.obstacles_of(mailing)
    if mailing["sample"] is not None and mailing["released_at"] is None:
        return await work.sample(obstacles)
    return await work.release(HoldSource.MAILING, obstacles) or await work.release(HoldSource.SAMPLING)


class _Work:
    """One step with one mailing, whose row is locked."""

    def __init__(self, connection: Connection, mailing: Any) -> None:
        self._connection, self._mailing = connection, mailing
        self._scope = of_mailing(mailing["account_id"], mailing["id"])

    async def stop(self) -> QueueMoved | None:
        hold = stop_hold(self._mailing["stopped"])
        if self._mailing["stop_bounces"]:
            bounced = (await holds.bounce(self._connection, self._scope, hold.text, limit=CHUNK)).recipients
            return QueueMoved(bounced=bounced) if bounced else None
        held = (await holds.hold(self._connection, self._scope, hold, limit=CHUNK)).recipients
        return QueueMoved(held=held) if held else None

    async def release(
        self, source: HoldSource, obstacles: Sequence[MailingObstacle] | None = None, limit: int = CHUNK, **which: Any
    ) -> QueueMoved | None:
        """End holds of this source, for these obstacles. ``which``: as ``holds.release`` has it."""
        mailing = self._mailing
        if mailing["released_at"] is not None:
            reason = f"mailing released by {mailing['released_by']}"
        elif obstacles == [MailingObstacle.STOPPED]:
            reason = "the mailing goes on"
        else:
            reason = f"mailing confirmed by {mailing['confirmed_by']}"
        refs = None if obstacles is None else [obstacle.value for obstacle in obstacles]
        done = await holds.release(self._connection, self._scope, [source], reason, refs=refs, limit=limit, **which)
        return QueueMoved(released=done.recipients, still_held=done.still_held) if done.recipients else None

    async def sample(self, obstacles: Sequence[MailingObstacle]) -> QueueMoved | None:
        """Release as many as belong to the sample; the others wait until the sample was looked at."""
        mailing, source = self._mailing, HoldSource.MAILING
        room = min(CHUNK, mailing["sample"] - mailing["sampled"])
        if room > 0 and (drawn := await self.release(source, obstacles, room, without=HoldSource.SAMPLING)):
            await self._connection.execute(_SAMPLED, mailing["id"], drawn.released)
            return drawn
        hold = sampling_hold(mailing["id"], mailing["name"], mailing["list"], mailing["sample"])
        refs = [obstacle.value for obstacle in obstacles]
        waiting = of_waiting(mailing["account_id"], mailing["id"], source, refs)
        held = (await holds.hold(self._connection, waiting, hold, limit=CHUNK)).recipients
        freed = await self.release(source, obstacles, beside=HoldSource.SAMPLING)  # all of them are still held
        return QueueMoved(held=held) if held or freed else None
