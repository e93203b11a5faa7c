"""Count the results of deliveries by the hour, for the breakers.

Results of attempts are counted by the statement that writes them. Complaints, spam traps and bounces reported by mail
are counted by the transaction that applies the report. Each counts for its mailing, in any stream, and for what its
account sends to that provider in that stream.

Invariants: only results that are committed count. Rows are written last and in the order of their keys, to avoid
deadlocks.

Limitations: hours are those of the database. Deliveries of one account to one provider share a row, so batches that
write them wait for each other until commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

from mta.mail.delivery import Attempt, Outcome
from mta.mail.identity import MessageId
from mta.mail.message import Stream
from mta.store.postgres.database import Connection
from policy.reputation.breaker import (
    DeliveryCounts,
    MailOrigin,
    counted,
)

CHANNEL = "delivery_stats"  # counts changed that the breakers must check now
PROVIDER = "provider"  # the key in the events of attempts

_FIELDS = ("delivered", "hard", "unknown", "soft", "complaints", "traps", "refused")
COUNTS = ", ".join(_FIELDS)
_values = attrgetter(*_FIELDS)
SUMS = ", ".join(f"sum({field})::bigint as {field}" for field in _FIELDS)


def upsert(first: int, condition: str = "") -> str:
    """Return the part of a statement that counts; ``first`` is the number of the first of its eleven parameters
    (``columns``)."""
    kinds = ("bigint", "text", "text", "text", *("bigint" for _ in _FIELDS))
    parameters = ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(kinds))
    return f"""
        insert into delivery_stats as t (hour, account_id, mailing, provider, stream, {COUNTS})
        select date_trunc('hour', now()), account_id, mailing, provider, stream::stream, {COUNTS}
        from unnest({parameters}) as one (account_id, mailing, provider, stream, {COUNTS}) {condition}
        on conflict (account_id, mailing, provider, stream, hour) do update
        set {", ".join(f"{field} = t.{field} + excluded.{field}" for field in _FIELDS)}"""  # noqa: S608 - our own text


_ADD = upsert(1)

_ORIGIN = """
select m.account_id, m.record ->> 'mailing' as mailing, m.record ->> 'stream' as stream,
    (select e.data ->> 'provider' from event e
     where e.message_id = m.id and e.data ? 'provider' and ($2::int is null or e.recipient_index = $2)
     order by e.at desc limit 1) as provider
from message m where m.id = $1"""


Key = tuple[int, str, str, str]  # account_id, mailing, provider, stream
Columns = tuple[tuple[Any, ...], ...]


def columns(attempts: Iterable[tuple[Attempt, Outcome]]) -> Columns:
    """Return what these outcomes add to the counts, as the parameters of ``upsert``."""
    found: dict[Key, list[int]] = {}
    for attempt, outcome in attempts:
        counts = counted(outcome, reached=attempt.host is not None)
        if counts is not None:
            for key in _keys(attempt):
                _plus(found, key, counts)
    return _columns(found)


async def settled(connection: Connection, attempts: Iterable[tuple[Attempt, Outcome]]) -> None:
    """Count outcomes that were written in this transaction."""
    await _add(connection, columns(attempts))


async def origin(
    connection: Connection, message_id: MessageId, recipient_index: int | None = None
) -> MailOrigin | None:
    """Return the origin of a message, with the provider of one recipient or the latest; None if it is not known any
    more."""
    row = await connection.fetchrow(_ORIGIN, message_id, recipient_index)
    if row is None:
        return None
    return MailOrigin(row["account_id"], Stream(row["stream"] or "transactional"), row["mailing"], row["provider"])


async def add(connection: Connection, of: MailOrigin, counts: DeliveryCounts) -> None:
    """Add reported results. Complaints and spam traps trigger the breakers on commit."""
    found: dict[Key, list[int]] = {}
    for key in _scopes(of.account_id, of.mailing, of.provider, of.stream):
        _plus(found, key, counts)
    await _add(connection, _columns(found))
    if counts.complaints or counts.traps:
        await connection.execute("select pg_notify($1, '')", CHANNEL)


async def _add(connection: Connection, values: Columns) -> None:
    if values[0]:
        await connection.execute(_ADD, *values)


def _keys(attempt: Attempt) -> Iterable[Key]:
    delivery = attempt.delivery
    return _scopes(delivery.account_id, delivery.mailing, attempt.provider, delivery.stream)


def _scopes(account_id: int, mailing: str | None, provider: str | None, stream: Stream) -> list[Key]:
    keys = [(account_id, mailing, "", Stream.MARKETING.value)] if mailing else []
    return [*keys, (account_id, "", provider, stream.value)] if provider else keys


def _plus(found: dict[Key, list[int]], key: Key, counts: DeliveryCounts) -> None:
    sums = found.setdefault(key, [0] * len(_FIELDS))
    for n, more in enumerate(_values(counts)):
        sums[n] += more


def _columns(found: Mapping[Key, list[int]]) -> Columns:
    """Return the columns sorted by key, so that concurrent writers wait in one order."""
    rows = sorted((*key, *sums) for key, sums in found.items())
    return tuple(zip(*rows, strict=True)) if rows else ((),) * (4 + len(_FIELDS))


def counts_of(row: Any) -> DeliveryCounts:
    """Return the counts in a row with the columns ``COUNTS``, or ``SUMS``; zero where a column is null."""
    return DeliveryCounts(*(row[field] or 0 for field in _FIELDS))
