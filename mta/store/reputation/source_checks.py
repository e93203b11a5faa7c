"""What the last check of each source found, by machine; workers leave out sources by it.

Invariants: a source that is taken out, or used again, is an event, written with the check that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from mta.mail.source_fault import SourceFault, SourceFaultKind
from mta.store.postgres.database import Connection, Database

CHANNEL = "source_check"
KEPT = 7  # days, of a source or a machine that is not checked any more

_COLUMNS = "host, source, address, checked_at, faults, unknown"
_LIST = f"select {_COLUMNS} from source_check where $1::text is null or host = $1 order by source, host"  # noqa: S608
_BEFORE = f"select {_COLUMNS} from source_check where host = $1 and source = any($2::text[]) for update"  # noqa: S608
_KEEP = """
insert into source_check (host, source, address, checked_at, faults, unknown)
select $1, source, address, now(), faults, unknown
from unnest($2::text[], $3::text[], $4::jsonb[], $5::jsonb[]) as one (source, address, faults, unknown)
on conflict (host, source) do update
set address = excluded.address, checked_at = excluded.checked_at, faults = excluded.faults,
    unknown = excluded.unknown"""
_FORGET = "delete from source_check where checked_at < now() - make_interval(days => $1)"
_SAY = "insert into event (kind, data) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class SourceCheck:
    """``unknown``: why it is not known whether there are faults of these kinds."""

    host: str
    source: str
    address: str
    faults: tuple[SourceFault, ...] = ()
    unknown: Mapping[SourceFaultKind, str] = field(default_factory=dict)
    checked_at: datetime | None = None


class SourceChecks:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, host: str | None = None) -> Sequence[SourceCheck]:
        """Return the last checks, of one machine or of all. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_check(row) for row in await connection.fetch(_LIST, host)]

    async def record(
        self, host: str, checks: Sequence[SourceCheck]
    ) -> Sequence[tuple[SourceCheck, SourceCheck | None]]:
        """Keep the checks of a machine; return those whose faults have changed, with the check before. Raises
        StoreUnavailable."""
        if not checks:
            return ()
        return await self._database.retried(lambda connection: _record(connection, host, checks))

    async def forget(self) -> None:
        """Delete the checks of sources and machines that are gone. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FORGET, KEPT)


async def _record(
    connection: Connection, host: str, checks: Sequence[SourceCheck]
) -> Sequence[tuple[SourceCheck, SourceCheck | None]]:
    rows = await connection.fetch(_BEFORE, host, [each.source for each in checks])
    before = {row["source"]: _check(row) for row in rows}
    await connection.execute(
        _KEEP,
        host,
        [each.source for each in checks],
        [each.address for each in checks],
        [orjson.dumps(each.faults).decode() for each in checks],
        [orjson.dumps({kind.value: why for kind, why in each.unknown.items()}).decode() for each in checks],
    )
    changed: list[tuple[SourceCheck, SourceCheck | None]] = []
    for each in checks:
        known = before.get(each.source)
        if each.faults == (known.faults if known else ()):
            continue
        changed.append((each, known))
        kind = "source_taken_out" if each.faults else "source_restored"
        data = {"source": each.source, "address": each.address, "host": host, "faults": each.faults}
        await connection.execute(_SAY, kind, orjson.dumps(data).decode())
    if changed:
        await connection.execute("select pg_notify($1, '')", CHANNEL)
    return changed


def _check(row: Any) -> SourceCheck:
    return SourceCheck(
        row["host"],
        row["source"],
        row["address"],
        tuple(
            SourceFault(SourceFaultKind(each["kind"]), each["text"], each["remedy"])
            for each in orjson.loads(row["faults"])
        ),
        {SourceFaultKind(kind): why for kind, why in orjson.loads(row["unknown"]).items()},
        row["checked_at"],
    )
