"""Empty the slots of the ring that new content is written to, and move what is still needed to where it may stay.

New content goes to the current slot. When that is full, or old, the next one becomes current. A slot that few messages
need any more is emptied: their content is copied to slot 0 (``content_kept``), and the slot is truncated, which costs
nothing however much was in it. The oldest is emptied whatever it holds if the current slot is full and no other is
empty, or if ten minutes have passed without a change of slots.

Invariants: a reader finds each piece of a queued message exactly once, at any moment. A slot is truncated after the
last transaction that could have written to it.

Limitations: content outlives its message by as long as a slot takes, a minute or two; where many others of its slot
stay queued, by ten minutes for each slot of the ring, an hour. Nothing is emptied while something reads tables for long
(a dump): the current slot grows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import asyncpg

from mta.mail.identity import MessageId
from mta.store.postgres.database import Connection, Database
from mta.store.queue.content import PIECE

SLOTS = 6
FULL = 64 * 2**20  # octets of a slot
OLD = 60.0  # seconds after which a slot that is not full is left
VERY_OLD = 600.0  # seconds as current slot after which the oldest is emptied: what has ended must not stay for good
REST = 5.0  # seconds after a change of slots in which nothing is emptied: transactions may still write to the last
FEW = 1000  # pieces that are worth moving to have a slot back
SECONDS = 60.0  # for one step

_LOCK = 0x0C0A7E47
_STATE = """
select slot, extract(epoch from now() - since)::float8 as age,
    array(select pg_relation_size(format('content_%s', n)::regclass) from generate_series(1, $1::int) n) as octets,
    pg_try_advisory_xact_lock($2) as alone
from content_ring"""

_NEXT = "update content_ring set slot = $1, since = now()"

# A probe of the index and of the queue for each message, not for each piece; the planner must not think of reading the
# whole queue. All pieces but the last are full.
_NEEDED = f"""
select c.message_id, (m.size - 1) / {PIECE} + 1 as pieces from content_{{slot}} c join message m on m.id = c.message_id
where c.part = 0 and exists (select from queue q where q.message_id = c.message_id offset 0)
limit $1"""  # noqa: S608 - PIECE is our own constant
_MOVE = """
insert into content_kept (slot, message_id, part, octets)
select 0, message_id, part, octets from content_{slot} where message_id = any($1::uuid[])"""

# Whose outcome was written while they were moved.
_ENDED = """
delete from content_kept c
where message_id = any($1::uuid[]) and not exists (select from queue q where q.message_id = c.message_id)"""


@dataclass(frozen=True, slots=True)
class RingState:
    """``current``: the slot of new content, from 1, for ``age`` seconds; ``octets``: in each slot."""

    current: int
    age: float
    octets: tuple[int, ...]

    def next(self) -> int:
        return self.current % len(self.octets) + 1

    def others(self) -> list[int]:
        """The slots that are not current and not empty, the oldest first."""
        turn = (*range(self.current, len(self.octets)), *range(self.current - 1))
        return [place + 1 for place in turn if self.octets[place]]

    def is_over(self) -> bool:
        """Whether the current slot is to be left, if the next one is empty."""
        octets = self.octets[self.current - 1]
        return octets >= FULL or (octets > 0 and self.age >= OLD)

    def must_go(self) -> int | None:
        """Return the oldest slot if it is to be emptied whatever it holds."""
        no_room = self.octets[self.current - 1] >= FULL and self.octets[self.next() - 1] > 0
        return next(iter(self.others()), None) if no_room or self.age >= VERY_OLD else None


@dataclass
class ContentRing:
    """Made by ``Store``."""

    database: Database
    _moved: list[MessageId] = field(default_factory=list)
    _looked_at: int = 0

    async def turn(self) -> None:
        """Do what is due, at most one slot; to be called about once a second. Raises StoreUnavailable."""
        if self._moved:
            async with self.database.session() as connection:
                await connection.execute(_ENDED, self._moved)
            self._moved.clear()
        async with self.database.session(SECONDS) as connection:
            try:
                async with connection.transaction():
                    await connection.execute("set local lock_timeout = '100ms'")
                    await self._step(connection)
            except asyncpg.LockNotAvailableError:  # a reader, or a long transaction: the next turn will do
                self._moved.clear()

    async def _step(self, connection: Connection) -> None:
        row = await connection.fetchrow(_STATE, SLOTS, _LOCK)
        assert row is not None
        if not row["alone"]:
            return
        state = RingState(row["slot"], row["age"], tuple(row["octets"]))
        if state.is_over() and not state.octets[state.next() - 1]:
            await connection.execute(_NEXT, state.next())
        elif oldest := state.must_go():
            await self._empty(connection, oldest)
        elif state.age >= REST and (others := state.others()):
            slot = next((each for each in others if each > self._looked_at), others[0])
            self._looked_at = slot
            await self._empty(connection, slot, FEW)

    async def _empty(self, connection: Connection, slot: int, most: int | None = None) -> None:
        """Empty a slot, unless more than ``most`` of its pieces are still needed."""
        await connection.execute(f"lock table content_{slot} in share mode")  # waits for all that write to it
        needed = await connection.fetch(_NEEDED.format(slot=slot), None if most is None else most + 1)
        if most is not None and sum(row["pieces"] for row in needed) > most:
            return
        ids = [row["message_id"] for row in needed]
        await connection.execute(_MOVE.format(slot=slot), ids)
        await connection.execute(f"truncate content_{slot}")
        self._moved = ids
