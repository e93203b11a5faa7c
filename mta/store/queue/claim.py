"""Claim queued recipients for a worker: due ones, oldest first, with a share for every destination.

A claim reads the oldest due rows. If there are more than it reads, a large backlog would delay everyone behind it: so
it then also goes round all destinations of all accounts, a few rows each, continuing where the last round ended. Both
reads are bounded, whatever the length of the queue. Each stream is claimed separately, so neither delays the other.

Of what was read, only deliveries that the worker has use for are claimed: a claim that is given back costs two writes.

Invariants: a held row (unless expired), or one that a live worker holds, is never claimed.

Limitations: rounds are per worker and start over with it. Expired rows come in their turn, not first. A round passes
destinations that are not wanted one by one: behind many thousands of them the others' turns come late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import orjson

from mta.mail.address import Address
from mta.mail.delivery import Delivery, DueDelivery, QueuedRecipient
from mta.mail.message import Body, ByMode, DeliverBy, Release, Return, SenderTls, Stream
from mta.store.postgres.database import Connection
from mta.store.queue.enqueue import notify_bits

LOOK = 2  # rows looked at for each delivery wanted
ROUND = 200  # destinations visited in one round
EACH = 5  # rows of each, at least

_READY = "stream = ($1::text)::stream and lease is null and holds = 0 and due_at <= now()"

# The oldest due rows, and what was held until it expired. ``ending``: no attempt will be made.
_OLDEST = f"""
(select message_id, destination, account_id, mailing, due_at,
    bounce is not null or $3 and expires_at <= now() as ending
 from queue where {_READY} order by due_at limit $2)
union all
(select message_id, destination, account_id, mailing, expires_at, true from queue
 where stream = ($1::text)::stream and lease is null and holds > 0 and expires_at <= now() and $3
 order by expires_at limit $2)"""  # noqa: S608

# One probe of the index for each (account, destination) behind the last one visited, then its oldest due rows.
_ROUND = f"""
with recursive turn (account_id, destination, step) as (
    (select account_id, destination, 1 from queue
     where stream = ($1::text)::stream and (account_id, destination) > ($2, $3) and lease is null and holds = 0
     order by account_id, destination limit 1)
    union all
    select next.account_id, next.destination, turn.step + 1
    from turn cross join lateral (
        select account_id, destination from queue
        where stream = ($1::text)::stream and (account_id, destination) > (turn.account_id, turn.destination)
            and lease is null and holds = 0
        order by account_id, destination limit 1
    ) next
    where turn.step < {ROUND}
)
select turn.account_id, turn.destination, due.message_id, due.mailing, due.due_at, due.ending
from turn left join lateral (
    select message_id, mailing, due_at, bounce is not null or $5 and expires_at <= now() as ending from queue
    where account_id = turn.account_id and destination = turn.destination and {_READY}
    order by due_at limit $4
) due on true"""  # noqa: S608

# All rows of the chosen deliveries that are due now, but for those that somebody else is just taking.
_TAKE = """
with
    wanted as (select * from unnest($1::uuid[], $2::text[]) as one (message_id, destination)),
    mine as (
        select q.message_id, q.recipient_index
        from wanted cross join lateral (
            select message_id, recipient_index from queue
            where message_id = wanted.message_id and destination = wanted.destination and lease is null
                and (holds = 0 and due_at <= now() or $4 and expires_at <= now())
            order by recipient_index for update skip locked
        ) q
    ),
    taken as (
        update queue q set lease = $3, waits_for = null, delayed_by = null
        from mine
        where q.message_id = any($1) and q.message_id = mine.message_id and q.recipient_index = mine.recipient_index
        returning q.*
    )
select
    t.message_id, t.recipient_index, t.account_id, t.mailing, t.stream::text as stream, t.topic, t.destination,
    t.address, t.notify, t.orcpt, t.attempts, t.expires_at, t.delay_dsn_sent, t.holds, t.bounce, t.last_reply,
    m.sender, m.size, m.recipients, m.received_at, m.record -> 'envelope' as envelope,
    (m.record -> 'certified')::bool as certified, coalesce(m.record -> 'mark', 'null') as mark
from taken t join message m on m.id = t.message_id
order by t.message_id, t.recipient_index"""

Wanted = Callable[[DueDelivery], bool]  # whether one more delivery is of use; asked once for each, in turn


class ClaimTurn:
    """Where a worker's rounds through the destinations of one stream stand."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream.value
        self._account, self._destination = 0, ""

    async def take(
        self, connection: Connection, lease: int, deliveries: int, octets: int, wanted: Wanted, *, expiry: bool = True
    ) -> list[Delivery]:
        """Lease up to ``deliveries`` deliveries of together about ``octets``, each ``wanted`` or waiting for its end
        only. ``expiry``: whether anything expires now."""
        look = LOOK * deliveries
        found = [_due(row) for row in await connection.fetch(_OLDEST, self._stream, look, expiry)]
        if len(found) >= look:
            found += await self._round(connection, (deliveries + 1) // 2, expiry)
        usable = (each for each in in_turns(found) if each.ending or wanted(each))
        fitting = await _fit(connection, list(islice(usable, deliveries)), octets)
        if not fitting:
            return []
        ids, destinations = [each.message_id for each in fitting], [each.destination for each in fitting]
        rows = await connection.fetch(_TAKE, ids, destinations, lease, expiry)
        return group(rows, lease)

    async def _round(self, connection: Connection, wanted: int, expiry: bool) -> list[DueDelivery]:
        """Due deliveries of the next destinations."""
        each = max(EACH, wanted // ROUND)
        rows = await connection.fetch(_ROUND, self._stream, self._account, self._destination, each, expiry)
        visited = {(row["account_id"], row["destination"]) for row in rows}
        self._account, self._destination = max(visited) if len(visited) == ROUND else (0, "")
        return [_due(row) for row in rows if row["message_id"] is not None]


def in_turns(due: Sequence[DueDelivery]) -> list[DueDelivery]:
    """The deliveries among ``due``, each once: accounts take turns, within each account its destinations do,
    within a destination the oldest comes first."""
    deliveries: dict[tuple[Any, str], DueDelivery] = {}
    for each in sorted(due, key=lambda each: each.due_at):
        deliveries.setdefault((each.message_id, each.destination), each)
    by_destination = _alternate(deliveries.values(), lambda each: (each.account_id, each.destination))
    return _alternate(by_destination, lambda each: each.account_id)


def _alternate(due: Iterable[DueDelivery], group: Callable[[DueDelivery], Any]) -> list[DueDelivery]:
    """The first of each group, then the second of each, and so on; apart from that the order stays."""
    seen: dict[Any, int] = {}
    ranked: list[tuple[int, DueDelivery]] = []
    for each in due:
        rank = seen[group(each)] = seen.get(group(each), 0) + 1
        ranked.append((rank, each))
    ranked.sort(key=lambda pair: pair[0])
    return [each for _, each in ranked]


async def _fit(connection: Connection, chosen: Sequence[DueDelivery], octets: int) -> Sequence[DueDelivery]:
    """As many of the first as fit into ``octets``; always one."""
    if not chosen:
        return ()
    rows = await connection.fetch(
        "select id, size from message where id = any($1::uuid[])", [each.message_id for each in chosen]
    )
    sizes = {row["id"]: row["size"] for row in rows}
    for count, each in enumerate(chosen):
        octets -= sizes.get(each.message_id, 0)
        if octets < 0 and count > 0:
            return chosen[:count]
    return chosen


def group(rows: Sequence[Any], lease: int) -> list[Delivery]:
    """Rows in order of message, put together to deliveries."""
    parts: dict[tuple[Any, str], list[Any]] = {}
    for row in rows:
        parts.setdefault((row["message_id"], row["destination"]), []).append(row)
    return [_delivery(part, lease) for part in parts.values()]


def _delivery(rows: Sequence[Any], lease: int) -> Delivery:
    first = rows[0]
    envelope = orjson.loads(first["envelope"])
    return Delivery(
        message_id=first["message_id"],
        destination=first["destination"],
        sender=_address(first["sender"]) if first["sender"] is not None else None,
        recipients=tuple(_recipient(row) for row in rows),
        account_id=first["account_id"],
        queued_at=first["received_at"],
        expires_at=min(row["expires_at"] for row in rows),
        size=first["size"],
        mailing=first["mailing"],
        stream=Stream(first["stream"]),
        topic=first["topic"],
        body=Body(envelope["body"]),
        smtputf8=envelope.get("smtputf8", False),
        ret=Return(envelope["ret"]) if "ret" in envelope else None,
        envid=envelope.get("envid"),
        certified=first["certified"],
        tls=SenderTls(envelope.get("tls", SenderTls.AS_POLICY)),
        release=_release(envelope.get("release")),
        deliver_by=_deliver_by(envelope.get("deliver_by")),
        priority=envelope.get("priority", 0),
        mark=(mark[0], mark[1]) if (mark := orjson.loads(first["mark"])) else None,
        whole=len(rows) == first["recipients"],
        delay_dsn_sent=any(row["delay_dsn_sent"] for row in rows),
        lease=lease,
        held=any(row["holds"] for row in rows),
        bounce=next((row["bounce"] for row in rows if row["bounce"] is not None), None),
    )


def _release(kept: list[Any] | None) -> Release | None:
    return Release(datetime.fromisoformat(kept[0]), kept[1]) if kept else None


def _deliver_by(kept: list[Any] | None) -> DeliverBy | None:
    return DeliverBy(datetime.fromisoformat(kept[0]), ByMode(kept[1]), kept[2]) if kept else None


def _recipient(row: Any) -> QueuedRecipient:
    return QueuedRecipient(
        index=row["recipient_index"],
        address=_address(row["address"]),
        attempts=row["attempts"],
        notify=notify_bits(row["notify"]),
        orcpt=row["orcpt"],
        last_reply=row["last_reply"],
    )


def _address(text: str) -> Address:
    """An address as it was stored: it was checked when it came in, and is not judged by later rules."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain)


def _due(row: Any) -> DueDelivery:
    return DueDelivery(
        row["message_id"], row["destination"], row["account_id"], row["mailing"], row["due_at"], row["ending"]
    )
