"""Place and release holds on queued recipients, by source and scope, and fail what is queued.

Invariants: ``queue.holds`` is the number of a recipient's rows in ``hold``, and a recipient is claimed for delivery
only if there are none. What is to fail has no holds and gets none. The row in ``queue`` is locked before its holds are
changed. Each change of a recipient is an event, and workers that have it in memory are told to give it back.

Limitations: a delivery on the wire is not stopped. Without a limit a change is one transaction, however many recipients
it concerns. A hold that is placed while its recipient is being delivered may be left behind without one; ``retention``
deletes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mta.mail.delivery import Delivery
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId
from mta.mail.reply import sanitise
from mta.store.postgres.database import Connection

CHANNEL = "queue"  # recipients were changed that workers have in memory
LONGEST = 500  # characters of a reason

HoldRow = tuple[MessageId, int, str, str, int, str | None, str]

# To be put behind a part ``gone (message_id, recipient_index, holds, ...)`` that deletes from the queue.
OF_DELETED = """
delete from hold h using gone
where gone.holds > 0 and h.message_id = gone.message_id and h.recipient_index = gone.recipient_index"""

# The holds of a recipient ``q`` as JSON, the oldest first; null without any.
AS_JSON = """
case when q.holds > 0 then (
    select jsonb_agg(jsonb_build_object('source', h.source, 'ref', h.ref, 'text', h.text) order by h.held_at, h.source)
    from hold h where h.message_id = q.message_id and h.recipient_index = q.recipient_index
) end"""


@dataclass(frozen=True, slots=True)
class HoldScope:
    """Which recipients are meant: a condition on their rows ``q`` in the queue and one on their holds ``h``, with
    placeholders from ``$1`` on for ``values``. ``messages``: those that both conditions name, if they do."""

    on_queue: str
    on_hold: str
    values: tuple[Any, ...] = ()
    messages: tuple[MessageId, ...] = ()

    @property
    def of_holds(self) -> tuple[str, tuple[Any, ...]]:
        """A condition on holds alone that all of theirs fulfil, and its values."""
        if "q." not in self.on_hold:
            return self.on_hold, self.values
        return ("h.message_id = any($1::uuid[])", (self.messages,)) if self.messages else ("true", ())


@dataclass(frozen=True, slots=True)
class QueueChange:
    """``recipients``: how many were changed; ``leased``: how many of them workers have at this moment;
    ``still_held``: how many released ones have other holds."""

    recipients: int = 0
    leased: int = 0
    still_held: int = 0


def of_account(account_id: int) -> HoldScope:
    return HoldScope("q.account_id = $1", "h.account_id = $1", (account_id,))


def of_mailing(account_id: int, mailing_id: str) -> HoldScope:
    return HoldScope(
        "q.account_id = $1 and q.mailing = $2", "h.account_id = $1 and h.mailing = $2", (account_id, mailing_id)
    )


def of_waiting(account_id: int, mailing_id: str, source: HoldSource, refs: Collection[str]) -> HoldScope:
    """Return the recipients of a mailing that have one of these holds."""
    waiting = f"""(
        select w.message_id, w.recipient_index from hold w
        where w.account_id = $1 and w.mailing = $2 and w.source = '{source.value}' and w.ref = any($3::text[])
    )"""  # noqa: S608 - our own text
    return HoldScope(
        f"(q.message_id, q.recipient_index) in {waiting}",
        f"h.mailing = $2 and (h.message_id, h.recipient_index) in {waiting}",
        (account_id, mailing_id, sorted(refs)),
    )


def _of_rows(rows: Sequence[tuple[MessageId, int]]) -> HoldScope:
    condition = "(q.message_id, q.recipient_index) in (select * from unnest($1::uuid[], $2::int[]))"
    return HoldScope(f"q.message_id = any($1) and {condition}", "", tuple(zip(*rows, strict=True)))


async def hold(
    connection: Connection, scope: HoldScope, why: Hold, *, limit: int | None = None, dry_run: bool = False
) -> QueueChange:
    """Place the hold ``why`` on recipients that do not have it, at most ``limit``. Within the caller's transaction."""
    given = _Parameters(scope.values)
    source, ref = f"'{why.source.value}'", given.add(why.ref)
    lacking = f"""{scope.on_queue} and q.bounce is null and not exists (
        select from hold h where h.message_id = q.message_id and h.recipient_index = q.recipient_index
            and h.source = {source} and h.ref = {ref}
    )"""
    if dry_run:
        return await _change(connection, f"select count(*), count(lease), 0 from queue q where {lacking}", given)  # noqa: S608
    text = given.add(sanitise(why.text, LONGEST))
    told = f"jsonb_build_object('source', {source}, 'ref', {ref}::text, 'text', {text}::text)"
    statement = f"""
with wanted as materialized (
    select q.message_id, q.recipient_index from queue q where {lacking} limit {given.add(limit)}
),
one as materialized (
    select q.message_id, q.recipient_index, q.account_id, q.mailing
    from wanted join queue q using (message_id, recipient_index)
    where q.bounce is null order by 1, 2 for update of q
),
added as (
    insert into hold (message_id, recipient_index, source, ref, account_id, mailing, text)
    select message_id, recipient_index, {source}, {ref}, account_id, mailing, {text} from one
    on conflict do nothing returning message_id, recipient_index
),
changed as (
    update queue q set holds = q.holds + 1 from added a
    where q.message_id = a.message_id and q.recipient_index = a.recipient_index
    returning q.message_id, q.recipient_index, q.lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'held', jsonb_build_object('hold', {told}) from changed
)
select count(*), count(lease), 0 from changed"""  # noqa: S608 - our own text, values as parameters
    return await _tell(connection, await _change(connection, statement, given))


async def release(
    connection: Connection,
    scope: HoldScope,
    sources: Collection[HoldSource],
    reason: str,
    *,
    refs: Collection[str] | None = None,
    beside: HoldSource | None = None,
    without: HoldSource | None = None,
    limit: int | None = None,
    dry_run: bool = False,
) -> QueueChange:
    """End the holds of ``sources`` (only those with ``refs``, if given), at most ``limit``; a recipient that has no
    other one is due now. ``beside``, ``without``: only those of recipients that also have a hold of this source, or
    have none. Within the caller's transaction."""
    given = _Parameters(scope.values)
    meant = f"{scope.on_hold} and h.source in ({', '.join(repr(source.value) for source in sources)})"
    if refs is not None:
        meant += f" and h.ref = any({given.add(sorted(refs))}::text[])"
    for other, negation in ((beside, ""), (without, "not ")):
        if other is not None:
            meant += f""" and {negation}exists (
            select from hold o where o.message_id = h.message_id and o.recipient_index = h.recipient_index
                and o.source = '{other.value}'
        )"""
    found = "hold h join queue q using (message_id, recipient_index)" if "q." in scope.on_hold else "hold h"
    if dry_run:
        counting = f"""
select count(*), count(q.lease), count(*) filter (where q.holds > one.ended)
from (select message_id, recipient_index, count(*) as ended from {found} where {meant} group by 1, 2) one
join queue q using (message_id, recipient_index)"""  # noqa: S608 - our own text
        return await _change(connection, counting, given)
    why = given.add(sanitise(reason, LONGEST))
    statement = f"""
with wanted as materialized (
    select message_id, recipient_index, h.source, h.ref from {found} where {meant} limit {given.add(limit)}
),
locked as materialized (
    select message_id, recipient_index, w.source, w.ref from wanted w join queue q using (message_id, recipient_index)
    order by 1, 2 for update of q
),
gone as (
    delete from hold h using locked l
    where h.message_id = l.message_id and h.recipient_index = l.recipient_index and h.source = l.source
        and h.ref = l.ref
    returning h.message_id, h.recipient_index, h.source, h.ref
),
changed as (
    update queue q set holds = q.holds - jsonb_array_length(one.ended),
        due_at = case when q.delayed_by is null then least(now(), q.expires_at) else q.due_at end
    from (
        select message_id, recipient_index, jsonb_agg(jsonb_build_object('source', source, 'ref', ref)) as ended
        from gone group by 1, 2
    ) one
    where q.message_id = one.message_id and q.recipient_index = one.recipient_index
    returning q.message_id, q.recipient_index, q.lease, q.holds, one.ended
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'released', jsonb_build_object(
        'hold', each, 'reason', {why}::text, 'other_holds', holds
    )
    from changed cross join lateral jsonb_array_elements(ended) as each
)
select count(*), count(lease), count(*) filter (where holds > 0) from changed"""  # noqa: S608 - our own text
    return await _tell(connection, await _change(connection, statement, given))


async def change(
    connection: Connection, messages: Sequence[MessageId], source: HoldSource, refs: Collection[str], why: Hold
) -> None:
    """Put ``why``, of the same source, in place of the holds with ``refs`` that messages have. Within the caller's
    transaction."""
    told = f"jsonb_build_object('source', '{source.value}', 'ref', $3::text, 'text', $4::text)"
    await connection.execute(
        f"""
with locked as materialized (
    select message_id, recipient_index from queue where message_id = any($1::uuid[]) order by 1, 2 for update
),
before as materialized (
    select h.message_id, h.recipient_index, h.ref from hold h join locked using (message_id, recipient_index)
    where h.source = '{source.value}' and h.ref = any($2::text[])
),
changed as (
    update hold h set ref = $3, text = $4, held_at = clock_timestamp() from before b
    where h.message_id = b.message_id and h.recipient_index = b.recipient_index and h.source = '{source.value}'
        and h.ref = b.ref
    returning h.message_id, h.recipient_index, b.ref
)
insert into event (message_id, recipient_index, kind, data)
select message_id, recipient_index, 'held', jsonb_build_object('hold', {told}) from changed
where ref <> $3""",  # noqa: S608 - our own text
        messages,
        sorted(refs),
        why.ref,
        sanitise(why.text, LONGEST),
    )


async def bounce(
    connection: Connection, scope: HoldScope, reason: str, *, limit: int | None = None, dry_run: bool = False
) -> QueueChange:
    """Have workers fail recipients now, at most ``limit``, whatever holds they have. Within the caller's
    transaction."""
    given = _Parameters(scope.values)
    meant = f"{scope.on_queue} and q.bounce is null"
    if dry_run:
        return await _change(connection, f"select count(*), count(lease), 0 from queue q where {meant}", given)  # noqa: S608
    why = given.add(sanitise(reason, LONGEST))
    statement = f"""
with wanted as materialized (
    select q.message_id, q.recipient_index from queue q where {meant} limit {given.add(limit)}
),
one as materialized (
    select q.message_id, q.recipient_index from wanted join queue q using (message_id, recipient_index)
    where q.bounce is null order by 1, 2 for update of q
),
changed as (
    update queue q set bounce = {why}, holds = 0, due_at = least(now(), q.expires_at) from one
    where q.message_id = one.message_id and q.recipient_index = one.recipient_index
    returning q.message_id, q.recipient_index, q.lease
),
said as (
    insert into event (message_id, recipient_index, kind, data)
    select message_id, recipient_index, 'bounced', jsonb_build_object('reason', {why}::text) from changed
)
select count(*), count(lease), 0 from changed"""  # noqa: S608 - our own text
    changed = await _change(connection, statement, given)
    # A statement of its own, which sees the holds that were placed while the one above waited for locks. A condition on
    # the queue may not be true any more.
    theirs, values = scope.of_holds
    await connection.execute(
        f"""
        delete from hold h using queue q
        where {theirs} and q.message_id = h.message_id and q.recipient_index = h.recipient_index
            and q.bounce is not null""",  # noqa: S608 - our own text
        *values,
    )
    return await _tell(connection, changed)


async def plan_for_many(connection: Connection) -> None:
    """Plan the statements of this transaction for their values and for any number of rows, unlike our short ones."""
    await connection.execute("set local enable_seqscan = on; set local plan_cache_mode = force_custom_plan")


# What a worker had claimed

_ACCOUNTS = """
select id, status <> 'active' as stopped from account where id = any($1::bigint[]) order by id for share"""

_BREAKER = "select name from breaker where name = $1 and cancelled_at is null for share"

_FREE = """
update queue q set lease = null
from unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease
returning q.message_id, q.recipient_index, q.account_id"""


async def hold_leased(connection: Connection, deliveries: Sequence[Delivery], why: Hold) -> None:
    """Free rows that are still ours, and hold them if the reason still stands. Within a transaction.

    Account and breaker are locked and looked at once more: a resumption or a reset either came first and is seen, or
    comes after and releases what is held here.
    """
    rows = sorted(
        (each.message_id, recipient.index, each.lease) for each in deliveries for recipient in each.recipients
    )
    accounts = await connection.fetch(_ACCOUNTS, list({each.account_id for each in deliveries}))
    stopped = {row["id"] for row in accounts if row["stopped"]}
    if why.source is HoldSource.BREAKER:
        tripped = await connection.fetchval(_BREAKER, why.ref) is not None
        stopped = {row["id"] for row in accounts if tripped}
    freed = await connection.fetch(_FREE, *zip(*rows, strict=True))
    held = [(row["message_id"], row["recipient_index"]) for row in freed if row["account_id"] in stopped]
    if held:
        await hold(connection, _of_rows(held), why)


# What is held from the start


def placed(first: int) -> str:
    """Return the part of a statement that writes ``HoldRow`` columns, which are its parameters from ``$first`` on."""
    uuid, index, source, ref, account, mailing, text = (f"${first + n}" for n in range(7))
    return f"""
insert into hold (message_id, recipient_index, source, ref, account_id, mailing, text)
select message_id, recipient_index, source::hold_source, ref, account_id, mailing, text
from unnest(
    {uuid}::uuid[], {index}::int[], {source}::text[], {ref}::text[], {account}::bigint[], {mailing}::text[],
    {text}::text[]
) as one (message_id, recipient_index, source, ref, account_id, mailing, text)"""  # noqa: S608 - our own text


def rows_of(
    holds: Iterable[Hold], message_id: MessageId, recipients: int, account_id: int, mailing: str | None
) -> Iterator[HoldRow]:
    """Return the rows of a message all of whose recipients have these holds."""
    for each in holds:
        text = sanitise(each.text, LONGEST)
        for index in range(recipients):
            yield message_id, index, each.source.value, each.ref, account_id, mailing, text


class _Parameters(list[Any]):
    """The values of a statement that is being put together."""

    def add(self, value: object) -> str:
        """Return the placeholder for ``value``."""
        self.append(value)
        return f"${len(self)}"


async def _change(connection: Connection, statement: str, given: _Parameters) -> QueueChange:
    row = await connection.fetchrow(statement, *given)
    assert row is not None
    return QueueChange(*row)


async def _tell(connection: Connection, change: QueueChange) -> QueueChange:
    """Tell workers to give back what they have in memory and not begun."""
    if change.leased:
        await connection.execute("select pg_notify($1, '')", CHANNEL)
    return change
