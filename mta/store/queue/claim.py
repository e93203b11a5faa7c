"""Claim queued recipients for a worker: the oldest due ones, with a share for each account, mailing and destination.

A claim reads the oldest due rows. If there are more than it reads, a large backlog would delay everyone behind it: so
it then also goes round accounts, in each of these round its mailings, and in each of these round its destinations, a
few rows each, continuing where the last round ended. All reads are bounded, whatever the length of the queue. Each
stream is claimed separately, so neither delays the other.

What was read is put into turns, by the weights of accounts and priorities. Of that only deliveries that the worker has
use for are claimed: a claim that is given back costs two writes.

Invariants: a held row (unless expired), or one that a live worker holds, is never claimed.

Limitations: rounds are per worker and start over with it. Expired rows come in their turn, not first. A round passes
what is not due, or not wanted, one destination after the other: behind many thousands of them the others' turns come
late.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import orjson

from mta.mail.address import Address
from mta.mail.delivery import Delivery, DueDelivery, QueuedRecipient
from mta.mail.message import Body, ByMode, DeliverBy, Release, Return, SenderTls, Stream
from mta.mail.turns import PRIORITY_WEIGHTS, AccountWeight
from mta.store.postgres.database import Connection
from mta.store.queue.enqueue import notify_bits

LOOK = 2  # rows looked at for each delivery wanted
ACCOUNTS, MAILINGS = 40, 5  # of each of them, visited in one round
ROUND = 200  # destinations visited in one round, shared by these
EACH = 5  # rows of each, at least
REMEMBERED = 10_000  # places where rounds stand

_READY = "stream = ($1::text)::stream and lease is null and holds = 0 and due_at <= now()"

# The oldest due rows, and what was held until it expired. ``ending``: no attempt will be made.
_OLDEST = f"""
(select message_id, destination, account_id, mailing, priority, due_at,
    bounce is not null or $3 and expires_at <= now() as ending
 from queue where {_READY} order by due_at limit $2)
union all
(select message_id, destination, account_id, mailing, priority, expires_at, true from queue
 where stream = ($1::text)::stream and lease is null and holds > 0 and expires_at <= now() and $3
 order by expires_at limit $2)"""  # noqa: S608

# What takes turns inside an account, as the index has it.
_TURN = """(coalesce(mailing, '') collate "C"), priority"""
_FREE = "stream = ($1::text)::stream and lease is null and holds = 0"

# One probe of the index for each account behind the last one visited, then one for each of its next turns.
_TURNS = f"""
with recursive visited (account_id, step) as (
    (select account_id, 1 from queue where {_FREE} and account_id > $2 order by account_id limit 1)
    union all
    select next.account_id, visited.step + 1
    from visited cross join lateral (
        select account_id from queue where {_FREE} and account_id > visited.account_id order by account_id limit 1
    ) next
    where visited.step < {ACCOUNTS}
)
select visited.account_id, turn.mailing, turn.priority
from visited
left join unnest($3::bigint[], $4::text[], $5::smallint[]) as behind (account_id, mailing, priority)
    on behind.account_id = visited.account_id
cross join lateral (
    with recursive turn (mailing, priority, step) as (
        (select {_TURN}, 1 from queue
         where {_FREE} and account_id = visited.account_id
            and ({_TURN}) > (coalesce(behind.mailing, '') collate "C", coalesce(behind.priority, -10::smallint))
         order by {_TURN} limit 1)
        union all
        select next.mailing, next.priority, turn.step + 1
        from turn cross join lateral (
            select {_TURN} from queue
            where {_FREE} and account_id = visited.account_id and ({_TURN}) > (turn.mailing, turn.priority)
            order by {_TURN} limit 1
        ) next (mailing, priority)
        where turn.step < {MAILINGS}
    )
    select mailing, priority from turn
) turn"""  # noqa: S608

# One probe for each destination of these turns behind the last one visited, then its oldest due rows.
_ROUND = f"""
select place.account_id, place.turn, place.priority, place.destination, due.message_id, due.mailing, due.due_at,
    due.ending
from (
select turn.account_id, turn.mailing as turn, turn.priority, place.destination, count(*) over () as places
from unnest($2::bigint[], $3::text[], $4::smallint[], $5::text[]) as turn (account_id, mailing, priority, behind)
cross join lateral (
    with recursive place (destination, step) as (
        (select destination, 1 from queue
         where {_FREE} and account_id = turn.account_id and ({_TURN}) = (turn.mailing, turn.priority)
            and destination > turn.behind
         order by destination limit 1)
        union all
        select next.destination, place.step + 1
        from place cross join lateral (
            select destination from queue
            where {_FREE} and account_id = turn.account_id and ({_TURN}) = (turn.mailing, turn.priority)
                and destination > place.destination
            order by destination limit 1
        ) next
        where place.step < $6
    )
    select destination from place
) place
) place
left join lateral (
    select message_id, mailing, due_at, bounce is not null or $8 and expires_at <= now() as ending from queue
    where {_READY} and account_id = place.account_id and ({_TURN}) = (place.turn, place.priority)
        and destination = place.destination
    order by due_at limit greatest({EACH}, $7 / place.places)
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
    m.record ? 'certified' as certified, coalesce(m.record -> 'mark', 'null') as mark
from taken t join message m on m.id = t.message_id
order by t.message_id, t.recipient_index"""

NO_ACCOUNT = -1  # behind which all are
Key = TypeVar("Key", bound=Hashable)
Place = TypeVar("Place")
Wanted = Callable[[DueDelivery], bool]  # whether one more delivery is of use; asked once for each, in turn


_Turn = tuple[int, str, int]  # account, mailing ("": none), priority


class ClaimTurn:
    """Where a worker's rounds through one stream stand: behind which account, in each behind which mailing, in each of
    these behind which destination."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream.value
        self._account = NO_ACCOUNT
        self._mailings: dict[int, tuple[str, int]] = {}
        self._destinations: dict[_Turn, str] = {}

    async def take(
        self,
        connection: Connection,
        lease: int,
        deliveries: int,
        octets: int,
        wanted: Wanted,
        *,
        expiry: bool = True,
        account_weight: AccountWeight,
    ) -> list[Delivery]:
        """Lease up to ``deliveries`` deliveries of together about ``octets``, each ``wanted`` or waiting for its end
        only. ``expiry``: whether anything expires now."""
        look = LOOK * deliveries
        found = [_due(row) for row in await connection.fetch(_OLDEST, self._stream, look, expiry)]
        if len(found) >= look:
            found += await self._round(connection, look, expiry)
        usable = (each for each in in_turns(found, account_weight) if each.ending or wanted(each))
        fitting = await _fit(connection, list(islice(usable, deliveries)), octets)
        if not fitting:
            return []
        ids, destinations = [each.message_id for each in fitting], [each.destination for each in fitting]
        rows = await connection.fetch(_TAKE, ids, destinations, lease, expiry)
        return group(rows, lease)

    async def _round(self, connection: Connection, wanted: int, expiry: bool) -> list[DueDelivery]:
        """Return about ``wanted`` due deliveries of the next destinations of the next mailings of the next accounts."""
        turns = await self._next_turns(connection)
        if not turns:
            return []
        visits = max(1, ROUND // len(turns))
        behind = [self._destinations.get(turn, "") for turn in turns]
        columns = list(zip(*turns, strict=True))
        rows = await connection.fetch(_ROUND, self._stream, *columns, behind, visits, wanted, expiry)
        places: dict[_Turn, list[str]] = {turn: [] for turn in turns}
        for row in rows:
            visited = places[row["account_id"], row["turn"], row["priority"]]
            if not visited or visited[-1] != row["destination"]:
                visited.append(row["destination"])
        for turn, visited in places.items():
            _stand(self._destinations, turn, visited[-1] if len(visited) == visits else None)
        return [_due(row) for row in rows if row["message_id"] is not None]

    async def _next_turns(self, connection: Connection) -> list[_Turn]:
        """Return the next mailings of the next accounts; a round that has come to its end begins again."""
        known = [(account, *place) for account, place in self._mailings.items()]
        behind = list(zip(*known, strict=True)) or [(), (), ()]
        rows = await connection.fetch(_TURNS, self._stream, self._account, *behind)
        turns = [(row["account_id"], row["mailing"], row["priority"]) for row in rows]
        of_account: dict[int, list[tuple[str, int]]] = {}
        for account, mailing, priority in turns:
            of_account.setdefault(account, []).append((mailing, priority))
        for account, visited in of_account.items():
            _stand(self._mailings, account, max(visited) if len(visited) == MAILINGS else None)
        self._account = max(of_account) if len(of_account) == ACCOUNTS else NO_ACCOUNT
        return turns


def _stand(places: dict[Key, Place], key: Key, place: Place | None) -> None:
    """Note behind what the next round begins; None: at the beginning."""
    if place is None:
        places.pop(key, None)
    else:
        if len(places) >= REMEMBERED:
            places.clear()
        places[key] = place


def in_turns(due: Sequence[DueDelivery], account_weight: AccountWeight) -> list[DueDelivery]:
    """Return the deliveries among ``due``, each once: accounts take turns by weight, within each account its mailings
    do, by priority, within these destinations do, within a destination the oldest comes first."""
    deliveries: dict[tuple[Any, str], DueDelivery] = {}
    for each in sorted(due, key=lambda each: each.due_at):
        deliveries.setdefault((each.message_id, each.destination), each)
    turns = _alternate(
        deliveries.values(), lambda each: (each.account_id, each.mailing, each.priority, each.destination)
    )
    turns = _alternate(
        turns,
        lambda each: (each.account_id, each.mailing, each.priority),
        lambda each: PRIORITY_WEIGHTS[each.priority],
    )
    return _alternate(turns, lambda each: each.account_id, lambda each: account_weight(each.account_id))


def _alternate(
    due: Iterable[DueDelivery],
    group: Callable[[DueDelivery], Any],
    weight: Callable[[DueDelivery], float] = lambda _: 1,
) -> list[DueDelivery]:
    """Return the first of each group, then the second of each, and so on, of heavier groups more often; apart from that
    the order stays."""
    seen: dict[Any, int] = {}
    ranked: list[tuple[float, DueDelivery]] = []
    for each in due:
        rank = seen[group(each)] = seen.get(group(each), 0) + 1
        ranked.append((rank / weight(each), each))
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
        row["message_id"], row["destination"], row["account_id"], row["mailing"], row["due_at"], row["ending"],
        row["priority"],
    )  # fmt: skip
