"""Receipts for complaints: who was told lately, so that no address gets many of them, nor all addresses together.

Invariants: nothing but the keyed hash of an address is kept, and for a day only.

Limitations: transactions at the same moment may exceed the hourly number by as many as they are.
"""

from __future__ import annotations

from mta.store.postgres.database import Connection

_RESERVE = """
insert into complaint_receipt as known (address_key)
select $1 where (select count(*) from complaint_receipt where at > now() - interval '1 hour') < $2
on conflict (address_key) do update set at = now() where known.at < now() - interval '1 day'
returning true"""

_SWEEP = "delete from complaint_receipt where at < now() - interval '1 day'"


async def reserve(connection: Connection, address_key: bytes, per_hour: int) -> bool:
    """Return whether a receipt may be sent to an address now, within the caller's transaction: the first one of the
    day, and not more than ``per_hour`` to all addresses."""
    return bool(await connection.fetchval(_RESERVE, address_key, per_hour))


async def sweep(connection: Connection) -> None:
    """Delete what no longer counts."""
    await connection.execute(_SWEEP)
