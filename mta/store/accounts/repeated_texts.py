"""Count to how many recipients each account sent the same text within the hour, over all workers and machines.

A worker counts in memory. About once a second it adds what it counted to the database, and gets the counts of all
workers for the same texts.

Invariants: no message waits for the database. What may have been added is not added twice. Memory, rows and the size of
one flush are bounded; counts of earlier hours are deleted.

Limitations: a count lags behind by one flush; of what others send a worker learns when it next sends that text itself.
A phrase is shared from ``SHARED`` recipients on, so each worker may keep up to that many to itself. What a worker has
not added yet is lost with it, and a crash of the database forgets the hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mta.observe.labels import BackgroundTask
from mta.store.postgres.database import Connection, Database
from mta.store.postgres.errors import OutcomeUnknown
from mta.store.postgres.periodic_flush import PeriodicFlush
from policy.text.same_text import repeats_of

MOST = 100_000  # phrases in memory; beyond them the counts begin anew
SHARED = 8  # recipients of a phrase from which on it is shared: few texts go to so many
ROWS = 5000  # of one flush; the most frequent phrases first
HOUR = timedelta(hours=1)

_ADD = """
insert into text_count as known (hour, account_id, phrase, recipients)
select $1, * from unnest($2::bigint[], $3::bigint[], $4::bigint[])
on conflict (hour, account_id, phrase) do update set recipients = known.recipients + excluded.recipients
returning account_id, phrase, recipients"""

_EXPIRE = "delete from text_count where hour < $1"

Phrase = tuple[int, int]  # account, hash


@dataclass(slots=True)
class _Count:
    """``total``: of all workers at the last flush; ``unsent``: counted here since then."""

    total: int = 0
    unsent: int = 0


class RepeatedTexts:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hour = datetime.fromtimestamp(0, UTC)
        self._counts: dict[Phrase, _Count] = {}
        self._flushing = PeriodicFlush(database, BackgroundTask.REPEATED_TEXTS, self.flush, self._to_send)

    def seen(self, account_id: int, sketch: Sequence[int], at: datetime) -> int:
        """Return to how many recipients the text went in the hour of ``at``."""
        self._turn(at)
        known = [self._counts.get((account_id, phrase)) for phrase in sketch]
        return repeats_of([each.total + each.unsent if each else 0 for each in known])

    def count(self, account_id: int, sketch: Sequence[int], recipients: int, at: datetime) -> None:
        """Count ``recipients`` more of a text."""
        self._turn(at)
        for phrase in sketch:
            self._counts.setdefault((account_id, phrase), _Count()).unsent += recipients
        if sketch:
            self._flushing.begin()

    async def stop(self) -> None:
        """Add what was counted, if the database can be reached."""
        await self._flushing.stop()

    async def flush(self) -> None:
        """Add what was counted, and learn the counts of all workers. Raises StoreUnavailable."""
        hour, sent = self._hour, self._to_send()
        if not sent:
            return
        counts = {phrase: self._counts[phrase] for phrase in sent}
        try:
            totals = await self._database.retried(lambda connection: _add(connection, hour, sent))
        except OutcomeUnknown:  # it may have been added
            totals = {phrase: counts[phrase].total + number for phrase, number in sent.items()}
        for phrase, number in sent.items():
            counts[phrase].unsent -= number
            counts[phrase].total = totals[phrase]

    def _to_send(self) -> dict[Phrase, int]:
        shared = [
            (phrase, count.unsent)
            for phrase, count in self._counts.items()
            if count.unsent and (count.total or count.unsent >= SHARED)
        ]
        if len(shared) > ROWS:
            shared = sorted(shared, key=lambda each: each[1])[-ROWS:]
        return dict(sorted(shared))  # rows are locked in this order by all workers

    def _turn(self, at: datetime) -> None:
        hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        if hour != self._hour or len(self._counts) > MOST:
            self._hour, self._counts = hour, {}


async def _add(connection: Connection, hour: datetime, sent: dict[Phrase, int]) -> dict[Phrase, int]:
    await connection.execute(_EXPIRE, hour - HOUR)
    accounts, phrases = [account for account, _ in sent], [phrase for _, phrase in sent]
    rows = await connection.fetch(_ADD, hour, accounts, phrases, list(sent.values()))
    return {(row["account_id"], row["phrase"]): row["recipients"] for row in rows}
