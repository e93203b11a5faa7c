"""What came back by mail, kept from the moment of our 250 until it is worked off.

Whoever works takes some for a while. What is not finished by then is taken by another one; each taking has a number,
and only the last one may finish. Finishing is part of the transaction that does what follows from the report.

It must never lose a report that was taken, nor let two workers finish one, nor try one for ever that ends every worker.

*Limits.* What has failed MOST times stays where it is until retention deletes it, and is counted (``stuck``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mta.mail.address import Address
from mta.mail.message import IPAddress
from mta.mail.reply import sanitise
from mta.store.postgres.database import Connection, Database

MOST = 8  # tries
HELD = timedelta(minutes=2)  # that one try may take
KEPT = timedelta(days=30)  # what could not be worked off
SHOWN = 300  # characters kept of an error or a name

_PUT = """
insert into inbound_report (sender, recipients, client, hello, content) values ($1, $2, $3, $4, $5) returning id"""

_TAKE = """
update inbound_report r set tries = tries + 1, due_at = now() + $2
where id = any(array(
    select id from inbound_report where due_at <= now() and tries < $3 order by due_at limit $1 for update skip locked
))
returning id, at, sender, recipients, client, hello, content, tries"""

_FINISH = "delete from inbound_report where id = $1 and tries = $2"

_PUT_OFF = "update inbound_report set due_at = now() + $3, error = $4 where id = $1 and tries = $2"

_COUNT = """
select count(*) filter (where tries < $1 or due_at > now()) as waiting, count(*) as all from inbound_report"""

_OLD = "delete from inbound_report where at < now() - $1::interval and tries >= $2"


@dataclass(frozen=True, slots=True)
class Arrived:
    """One mail that came back. ``recipients``: addresses of ours; ``taking``: the number of this try."""

    id: int
    at: datetime
    sender: str | None
    recipients: tuple[Address, ...]
    client: str
    hello: str
    content: bytes
    taking: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """``stuck``: given up after MOST tries."""

    waiting: int
    stuck: int


class Overtaken(Exception):
    """Somebody else has this report by now."""


class ReportQueue:
    """Made by ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, sender: Address | None, recipients: Sequence[Address], client: IPAddress, hello: str, content: bytes
    ) -> int:
        """Keep a report; its number, once it is committed. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            number: int = await connection.fetchval(
                _PUT,
                None if sender is None else str(sender),
                [str(address) for address in recipients],
                str(client),
                sanitise(hello, SHOWN),
                content,
            )
        return number

    async def take(self, most: int) -> list[Arrived]:
        """Some that are due, for HELD. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            rows = await connection.fetch(_TAKE, most, HELD, MOST)
        return [
            Arrived(
                row["id"],
                row["at"],
                row["sender"],
                tuple(_address(text) for text in row["recipients"]),
                row["client"],
                row["hello"],
                row["content"],
                row["tries"],
            )
            for row in sorted(rows, key=lambda row: int(row["id"]))
        ]

    async def drop(self, arrived: Arrived) -> None:
        """Nothing follows from it. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_FINISH, arrived.id, arrived.taking)

    async def put_off(self, arrived: Arrived, error: str, wait: timedelta) -> None:
        """It could not be worked off now. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_PUT_OFF, arrived.id, arrived.taking, wait, sanitise(error, SHOWN))

    async def backlog(self) -> Backlog:
        """How many wait. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            row = await connection.fetchrow(_COUNT, MOST)
        assert row is not None
        return Backlog(row["waiting"], row["all"] - row["waiting"])

    async def sweep(self) -> None:
        """Delete what nobody could work off, after KEPT. Raises StoreUnavailable."""
        async with self._database.session() as connection:
            await connection.execute(_OLD, KEPT, MOST)


async def finish(connection: Connection, arrived: Arrived) -> None:
    """It is done, if the caller's transaction is committed. Raises Overtaken."""
    if await connection.execute(_FINISH, arrived.id, arrived.taking) != "DELETE 1":
        raise Overtaken(f"report {arrived.id}, try {arrived.taking}")


def _address(text: str) -> Address:
    local, _, domain = text.rpartition("@")
    return Address(local, domain)
