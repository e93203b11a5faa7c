"""Imported lists: counted and sketched as they are recorded, compared with those of other accounts, and what was found.

    record ▶ counts and sketch, in the same transaction ▶ check: findings ▶ an operator dismisses them

Invariants: no address is kept here, and sketches cannot be compared without the installation's secret.

Limitations: a check takes the lists that changed, BATCH at a time, and compares them with those of all other accounts.
Sketches are not changed by an erasure, and are deleted KEPT after the last change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from mta.mail.address import Address
from mta.mail.reply import sanitise
from mta.store.journal.account_changes import AccountChangeKind, note
from mta.store.postgres.database import Connection, Database
from policy.permission.address_list import (
    ListCounts,
    ListFinding,
    ListSign,
    ListThresholds,
    Sketch,
    judge_counts,
    judge_overlap,
)
from policy.permission.role_names import known_roles, role_name
from policy.permission.traps import TrapAddresses

BATCH = 20  # changed lists in one check
PAGE = 200  # lists read at once to compare them with
KEPT = timedelta(days=1095)
SECONDS = 60.0

_GET = "select sketch from address_list where account_id = $1 and file = $2"
_PUT = """
insert into address_list as l (account_id, file, addresses, roles, traps, sketch) values ($1, $2, $3, $4, $5, $6)
on conflict (account_id, file) do update set addresses = l.addresses + excluded.addresses,
    roles = l.roles + excluded.roles, traps = l.traps + excluded.traps, sketch = excluded.sketch, changed_at = now(),
    checked_at = null"""

_CHANGED = f"""
select l.account_id, l.file, l.addresses, l.roles, l.traps, l.sketch, l.changed_at, a.name, a.profile
from address_list l join account a on a.id = l.account_id
where l.checked_at is null order by l.changed_at limit {BATCH}"""  # noqa: S608 - our own number
_OTHERS = """
select l.account_id, l.file, l.sketch, a.name from address_list l join account a on a.id = l.account_id
where (l.account_id, l.file) > ($1, $2) order by l.account_id, l.file limit $3"""
_CHECKED = "update address_list set checked_at = now() where account_id = $1 and file = $2 and changed_at = $3"
_OLD = "delete from address_list where changed_at < now() - $1::interval"

# What was dismissed stays so, unless a warning has become a hold.
_FOUND = """
insert into list_finding as f (account_id, file, sign, other_id, hold, text) values ($1, $2, $3, $4, $5, $6)
on conflict (account_id, file, sign, other_id) do update set hold = excluded.hold, text = excluded.text,
    found_at = now(), dismissed_at = null, dismissed_by = null, reason = null
where excluded.hold and not f.hold
returning id"""
_SAY = "insert into event (kind, data) values ('list_finding', $1)"

_LIST = """
select f.*, a.name, o.name as other from list_finding f join account a on a.id = f.account_id
left join account o on o.id = f.other_id
where ($1::bigint is null or f.account_id = $1) and ($2 or f.dismissed_at is null) order by f.id desc limit $3"""
_DISMISS = """
update list_finding set dismissed_at = now(), dismissed_by = $2, reason = $3
where id = $1 and dismissed_at is null returning account_id"""
_HOLDING = (
    "select id, text from list_finding where account_id = $1 and hold and dismissed_at is null order by id limit 1"
)


class ListFindingError(ValueError):
    """Why a finding cannot be dismissed."""


@dataclass(frozen=True, slots=True)
class RecordedFinding:
    """A finding as operators see it. ``file``: SHA-256 of the list, hexadecimal; "": addresses that came one by one.
    ``other``: the account that has such a list, too."""

    id: int
    account: str
    file: str
    sign: ListSign
    hold: bool
    text: str
    other: str | None
    found_at: datetime
    dismissed_at: datetime | None
    dismissed_by: str | None
    reason: str | None


def counted(addresses: Sequence[Address], traps: TrapAddresses | None) -> ListCounts:
    """Return what ``extend`` adds for these addresses."""
    roles = known_roles()
    return ListCounts(
        len(addresses),
        sum(role_name(address) in roles for address in addresses),
        sum(address in traps for address in addresses) if traps else 0,
    )


async def extend(connection: Connection, account_id: int, file: bytes, more: ListCounts, hashes: Iterable[int]) -> None:
    """Add records to a list. The caller has locked the account's ledger."""
    known = await connection.fetchval(_GET, account_id, file)
    sketch = Sketch(known or b"").extended(hashes)
    await connection.execute(_PUT, account_id, file, more.addresses, more.roles, more.traps, bytes(sketch))


class AddressLists:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, limits: Mapping[str, ListThresholds]) -> list[RecordedFinding]:
        """Judge the lists that changed, by the limits of their accounts' profiles; return what is new.

        Raises StoreUnavailable.
        """
        async with self._database.session(SECONDS) as connection:
            await connection.execute(_OLD, KEPT)
            changed = await connection.fetch(_CHANGED)
        if not changed:
            return []
        own = [(row, Sketch(row["sketch"]), limits.get(row["profile"], ListThresholds())) for row in changed]
        found: list[tuple[Any, int | None, ListFinding]] = [
            (row, None, finding)
            for row, _, its in own
            for finding in judge_counts(ListCounts(row["addresses"], row["roles"], row["traps"]), its)
        ]
        async for page in self._others():
            for other in page:
                sketch = Sketch(other["sketch"])
                for row, mine, its in own:
                    if other["account_id"] != row["account_id"] and (finding := judge_overlap(mine, sketch, its)):
                        found.append((row, other["account_id"], finding))
                await asyncio.sleep(0)  # a thousand lists take seconds
        return await self._record(changed, found)

    async def _others(self) -> AsyncIterator[Sequence[Any]]:
        """Yield all lists, in pages."""
        last: tuple[int, bytes] = (0, b"")
        while True:
            async with self._database.session(SECONDS) as connection:
                page = await connection.fetch(_OTHERS, *last, PAGE)
            if not page:
                return
            yield page
            last = page[-1]["account_id"], page[-1]["file"]

    async def _record(
        self, changed: Sequence[Any], found: Sequence[tuple[Any, int | None, ListFinding]]
    ) -> list[RecordedFinding]:
        async def work(connection: Connection) -> set[int]:
            fresh = set()
            for row, other_id, finding in found:
                account_id, sign = row["account_id"], finding.sign.value
                number = await connection.fetchval(
                    _FOUND, account_id, row["file"], sign, other_id, finding.hold, finding.text
                )
                if number is None:
                    continue
                fresh.add(number)
                said = {"finding": number, "sign": sign, "hold": finding.hold, "text": finding.text}
                await note(connection, account_id, "service", AccountChangeKind.LIST, said)
                await connection.execute(_SAY, orjson.dumps({"account_id": account_id} | said).decode())
            for row in changed:
                await connection.execute(_CHECKED, row["account_id"], row["file"], row["changed_at"])
            return fresh

        fresh = await self._database.retried(work, seconds=SECONDS)
        return [each for each in await self.list(limit=len(fresh)) if each.id in fresh] if fresh else []

    async def list(
        self, account_id: int | None = None, *, every: bool = False, limit: int = 100
    ) -> list[RecordedFinding]:
        """Return findings, the newest first; ``every``: dismissed ones too. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            return [_finding_of(row) for row in await connection.fetch(_LIST, account_id, every, limit)]

    async def holding(self, account_id: int) -> tuple[int, str] | None:
        """Return the number and text of a finding for which the mailings of an account wait. Raises
        StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_HOLDING, account_id)
        return None if row is None else (row["id"], row["text"])

    async def dismiss(self, number: int, *, by: str, reason: str) -> None:
        """Record that a finding is settled; mailings no longer wait for it. Raises ListFindingError,
        StoreUnavailable."""
        reason = sanitise(reason, 200)

        async def work(connection: Connection) -> None:
            account_id = await connection.fetchval(_DISMISS, number, by, reason)
            if account_id is None:
                raise ListFindingError(f"there is no open finding {number}; see mta consent findings")
            said = {"finding": number, "act": "dismissed", "reason": reason}
            await note(connection, account_id, by, AccountChangeKind.LIST, said)

        await self._database.retried(work)


def _finding_of(row: Any) -> RecordedFinding:
    return RecordedFinding(
        row["id"],
        row["name"],
        row["file"].hex(),
        ListSign(row["sign"]),
        row["hold"],
        row["text"],
        row["other"],
        row["found_at"],
        row["dismissed_at"],
        row["dismissed_by"],
        row["reason"],
    )
