"""The queue as workers use it: enqueue messages, claim deliveries, read content, requeue and hold.

``enqueue`` returns only when the message is committed; calls are batched by themselves.

Invariants: a message is never reported as queued that is not. Limitations: an enqueue whose connection was lost during
the commit may have been made. The sender is told to try again, and the message is withdrawn when the database is back,
unless another worker has claimed rows of it by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from mta.mail.delivery import DelayReason, Delivery
from mta.mail.hold import Hold, distinct
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Stream
from mta.mail.turns import AccountWeight
from mta.mail.values import dataclass
from mta.observe.labels import BackgroundTask, StoreCall
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import GONE, Connection, Database, is_full
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue import content, copies, enqueue, holds, retention
from mta.store.queue.claim import ClaimTurn, Wanted
from mta.store.queue.content import StoredContent
from mta.store.queue.copies import CopyClaim, CopyKey, FurtherCopy
from mta.store.queue.enqueue import Enqueued, Held, Leased, NewMessage, Queued
from mta.store.queue.lease import Lease

log = get_logger()

BATCH_ITEMS, BATCH_OCTETS = 64, 4_000_000  # of one batch of new messages; a larger message goes alone
APART = 0.008  # seconds between two batches while clients come together: a commit costs more than a row
SLOWEST = 1_000_000  # octets per second that the store writes at least, or a large message is given up

# A connection that we cut may live on in the server for a moment, and commit: it must have ended first.
_END_BACKENDS = """
select pg_terminate_backend(pid, 3000) from pg_stat_activity
where pid = any($1::int[]) and application_name = 'imprimatur' and usename = current_user"""

# A message that another worker holds rows of by now, or has attempted, is on its way: it stays queued.
_WITHDRAW_ROWS = f"""
with gone as (
    delete from queue q using unnest($1::uuid[], $2::bigint[]) as one (message_id, lease)
    where q.message_id = any($1) and q.message_id = one.message_id
        and not exists (
            select from queue o where o.message_id = one.message_id and o.lease is not null
                and o.lease is distinct from one.lease
        )
        and not exists (select from event e where e.message_id = one.message_id)
    returning q.message_id, q.recipient_index, q.holds
)
{holds.OF_DELETED}"""  # noqa: S608 - our own text

_WITHDRAW_MESSAGES = """
with gone as (
    delete from message m
    where id = any($1::uuid[]) and not exists (select from queue q where q.message_id = m.id)
        and not exists (select from event e where e.message_id = m.id)
    returning id
)
delete from content_kept where message_id = any(array(select id from gone))"""

# A message that must stay queued, and that nobody here knows.
_RELEASE = """
update queue q set lease = null
from unnest($1::uuid[], $2::bigint[]) as one (message_id, lease)
where q.message_id = any($1) and q.message_id = one.message_id and q.lease = one.lease"""

_REQUEUE = """
update queue q
set lease = null,
    waits_for = $5,
    delayed_by = ($6::text)::delay_reason,
    due_at = case
        when q.bounce is null then least(coalesce(now() + $4::interval, q.due_at), q.expires_at)
        else q.due_at
    end
from unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease"""

# A cancellation either came first and is seen, or comes after and finds what was put off.
_IN_FORCE = "select id from shaping_action where id = $1 and cancelled_at is null and expires_at > now() for share"

DUE = "due"  # the channel on which workers are told that there is something to claim
ANNOUNCE_AFTER = 0.01  # seconds in which further messages are told of together

_Enqueue = tuple[Sequence[NewMessage], int | None]  # messages queued together, and the lease their rows carry


@dataclass(frozen=True, slots=True)
class Placed:
    """What of messages was queued, and which recipients were not, as they have their copy of the mailing."""

    messages: tuple[NewMessage, ...]
    further: tuple[FurtherCopy, ...] = ()


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A message that is perhaps queued: the lease its rows would carry, and the copies it would have claimed."""

    lease: int | None
    keys: tuple[CopyKey, ...] = ()


class Messages:
    """Made by ``Store``."""

    def __init__(self, database: Database, lease: Lease, secrets: Secrets, metrics: Metrics | None) -> None:
        self._database, self._lease, self._secrets, self._metrics = database, lease, secrets, metrics
        self._enqueues: Batch[_Enqueue, Placed] = Batch(
            self._flush,
            items=BATCH_ITEMS,
            weight=BATCH_OCTETS,
            weigh=lambda each: sum(new.message.size for new in each[0]),
            abandoned=lambda each, _: self._doubt([each]),
            apart=APART,
            closed_loop=True,
        )
        self._one_large = asyncio.Semaphore(1)
        self._turns = {stream: ClaimTurn(stream) for stream in Stream}
        self._doubtful: dict[MessageId, _Doubt] = {}
        self._unknown_claims: list[Delivery] = []  # of a claim whose commit was lost: leased to us, or not
        self._backends: set[int] = set()
        self._withdrawing: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None

    # --- enqueue

    async def enqueue(self, new: NewMessage, *, leased: bool) -> Enqueued:
        """Queue a message; on return it is committed. Raises StoreUnavailable.

        ``leased``: as this worker's to deliver, unless it is held or this worker has no valid lease.
        """
        return (await self.enqueue_all([new], leased=leased))[0]

    async def enqueue_all(self, messages: Sequence[NewMessage], *, leased: bool) -> tuple[Enqueued, Placed]:
        """As ``enqueue``, for messages queued together or not at all; none is leased if any is held or delayed.

        Recipients who have their copy of the mailing are left out, and messages that have no others.
        """
        began = time.perf_counter()
        held = distinct(hold for new in messages for hold in new.holds)
        delayed = any(new.delays for new in messages)
        lease = self._lease.id if leased and not held and not delayed and self._lease.valid else None
        large = any(new.message.large for new in messages)
        try:
            placed = await (self._enqueue_large((messages, lease)) if large else self._enqueues.do((messages, lease)))
        except StoreUnavailable:
            if self._metrics:
                self._metrics.store_unavailable.inc()
            raise
        self._observe(StoreCall.ENQUEUE, began)
        if held:
            return Held(held), placed
        if lease is None:
            self._announce()
            return Queued(), placed
        deliveries = tuple(delivery for new in placed.messages for delivery in enqueue.deliveries(new, lease))
        return Leased(deliveries), placed

    def _announce(self) -> None:
        """Tell the workers soon that messages are due. Without it they find them when they look next."""
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._tell_workers())

    async def _tell_workers(self) -> None:
        await asyncio.sleep(ANNOUNCE_AFTER)
        with suppress(StoreUnavailable):
            async with self._database.session() as connection:
                await connection.execute("select pg_notify($1, '')", DUE)

    async def _enqueue_large(self, each: _Enqueue) -> Placed:
        """Commit messages with large content in a transaction of their own, one after the other: others do not wait
        for them."""
        seconds = self._database.timeout + sum(new.message.size for new in each[0]) / SLOWEST
        async with self._one_large:
            try:
                async with self._database.session(seconds) as connection, connection.transaction():
                    (placed,) = await self._place(connection, [each])
                    for new in placed.messages:
                        if new.message.large:
                            await content.write(connection, new.message)
                    return placed
            except OutcomeUnknown as error:
                self._doubt([each], error.backend)
                raise
            except asyncio.CancelledError:
                self._doubt([each])
                raise

    async def _flush(self, batch: list[_Enqueue], since: float) -> Sequence[Placed | Exception]:
        left = self._database.timeout - (asyncio.get_running_loop().time() - since)
        try:
            async with self._database.session(left) as connection:
                return await self._insert(connection, batch)
        except OutcomeUnknown as error:
            self._doubt(batch, error.backend)
            raise

    async def _insert(self, connection: Connection, batch: list[_Enqueue]) -> Sequence[Placed | Exception]:
        """Insert a batch. If the database refuses it, halve it until only the refused message fails."""
        try:
            return await self._place(connection, batch)
        except GONE:
            raise
        except Exception as error:
            if connection.is_closed() or is_full(error):
                raise
            if len(batch) == 1:
                first = format_id(batch[0][0][0].message.id)
                log.error("message could not be queued", message=first, reason=str(error))
                return [error]
            half = len(batch) // 2
            return [*await self._insert(connection, batch[:half]), *await self._insert(connection, batch[half:])]

    async def _place(self, connection: Connection, batch: Sequence[_Enqueue]) -> Sequence[Placed]:
        """Queue a batch; of mailings only the first copy for each mailbox."""
        flat = [(new, lease) for messages, lease in batch for new in messages]
        if not any(new.mailboxes for new, _ in flat):
            await enqueue.insert(connection, flat, self._secrets)
            return [Placed(tuple(messages)) for messages, _ in batch]
        async with connection.transaction():
            claimed = await copies.claim(connection, [new for new, _ in flat], self._secrets)
            kept = [(each.new, lease) for each, (_, lease) in zip(claimed, flat, strict=True) if each.new]
            if kept:
                await enqueue.insert(connection, kept, self._secrets)
        left = iter(claimed)
        return [_placed(list(islice(left, len(messages)))) for messages, _ in batch]

    def _doubt(
        self, enqueues: Iterable[_Enqueue], backend: int | None = None, claimed: Iterable[Delivery] = ()
    ) -> None:
        """Withdraw messages that may be queued although the client was told otherwise, or has gone.

        ``backend``: the server process that may still be committing. ``claimed``: deliveries that may be leased to us.
        """
        for messages, lease in enqueues:
            for new in messages:
                self._doubtful[new.message.id] = _Doubt(lease, tuple(copies.keys_of(new, self._secrets)))
        self._unknown_claims.extend(claimed)
        if backend:
            self._backends.add(backend)
        if self._withdrawing is None or self._withdrawing.done():
            self._withdrawing = self._database.tasks.start(BackgroundTask.WITHDRAW, self._withdraw)

    async def _withdraw(self) -> None:
        """Withdraw what is doubtful, until there is nothing more. Raises StoreUnavailable, and is started again."""
        while self._doubtful or self._unknown_claims:
            doubtful, backends, claims = dict(self._doubtful), list(self._backends), list(self._unknown_claims)
            async with self._database.session() as connection:
                await connection.execute(_END_BACKENDS, backends)
                async with connection.transaction():
                    await self._withdraw_messages(connection, doubtful)
                if claims:
                    await connection.execute(_REQUEUE, *_keys(claims), None, None, None)
            for message_id in doubtful:
                self._doubtful.pop(message_id, None)
            del self._unknown_claims[: len(claims)]
            self._backends.difference_update(backends)

    async def _withdraw_messages(self, connection: Connection, doubtful: Mapping[MessageId, _Doubt]) -> None:
        """Withdraw messages, but for those that stand for a further copy: the client was told that it is queued."""
        keys = sorted({key for doubt in doubtful.values() for key in doubt.keys})
        needed = await copies.needed(connection, keys, doubtful) if keys else set[MessageId]()
        for statement, ids in ((_WITHDRAW_ROWS, doubtful.keys() - needed), (_RELEASE, needed)):
            wanted = sorted(ids)
            await connection.execute(statement, wanted, [doubtful[each].lease for each in wanted])
        await connection.execute(_WITHDRAW_MESSAGES, sorted(doubtful.keys() - needed))
        if keys:
            await copies.free(connection, keys, doubtful)

    # --- claim and read

    async def claim(
        self,
        *,
        deliveries: int,
        octets: int,
        wanted: Wanted = lambda _: True,
        stream: Stream = Stream.TRANSACTIONAL,
        expiry: bool = True,
        account_weight: AccountWeight = lambda _: 1,
    ) -> list[Delivery]:
        """Claim due deliveries of ``stream`` for this worker, up to these bounds, without content.

        The oldest first, but with a share for every waiting account, mailing and destination. Includes expired
        ones, held or not, unless ``expiry`` is suspended. ``wanted``: whether one more delivery to a destination is.
        Raises StoreUnavailable.
        """
        if not self._lease.valid:
            raise StoreUnavailable("this worker has no valid lease")
        if self._doubtful or self._unknown_claims:  # withdraw first what must not be sent
            raise StoreUnavailable("messages of unknown state are still to be withdrawn")
        began, lease = time.perf_counter(), self._lease.id
        claimed: list[Delivery] = []

        async def take(connection: Connection) -> None:
            claimed[:] = await self._turns[stream].take(
                connection, lease, deliveries, octets, wanted, expiry=expiry, account_weight=account_weight
            )

        try:
            await self._database.retried(take)
        except OutcomeUnknown as error:
            if claimed:  # the commit may have been made
                self._doubt((), error.backend, claimed)
            raise
        self._observe(StoreCall.CLAIM, began)
        return claimed

    async def content(self, message_id: MessageId) -> bytes | StoredContent:
        """Return the message as it goes over the wire. Raises ContentMissing, StoreUnavailable."""
        began = time.perf_counter()
        found = await content.read(self._database, message_id)
        self._observe(StoreCall.CONTENT, began)
        return found

    # --- give up a claim

    async def requeue(
        self,
        deliveries: Sequence[Delivery],
        wait: timedelta | None = None,
        waits_for: int | None = None,
        delayed_by: DelayReason | None = None,
    ) -> None:
        """Release rows that are still ours, due after ``wait`` (as before if None); no attempt is counted.

        ``waits_for``: the shaping action that puts them off; if it was cancelled meanwhile, they are due now.
        ``delayed_by``: why they wait, if it is not for their next try. Raises StoreUnavailable.
        """
        if deliveries:
            columns = _keys(deliveries)
            await self._database.retried(lambda connection: _requeue(connection, columns, wait, waits_for, delayed_by))

    async def hold(self, deliveries: Sequence[Delivery], hold: Hold) -> None:
        """Release rows that are still ours, and hold them unless their account may send again, or the breaker was
        reset. Raises StoreUnavailable.
        """
        if deliveries:
            await self._database.retried(lambda connection: holds.hold_leased(connection, deliveries, hold))

    # --- maintenance

    async def sweep(self, keep: float) -> retention.Swept:
        """Delete records and events older than ``keep`` seconds, and content without queue rows.

        In small transactions; meant to run once in a while. Raises StoreUnavailable.
        """
        return await retention.sweep(self._database, datetime.now(UTC), keep)

    def _observe(self, call: StoreCall, began: float) -> None:
        if self._metrics:
            self._metrics.store_seconds[call].observe(time.perf_counter() - began)


def _placed(claimed: Sequence[CopyClaim]) -> Placed:
    messages = tuple(each.new for each in claimed if each.new)
    return Placed(messages, tuple(further for each in claimed for further in each.further))


async def _requeue(
    connection: Connection,
    columns: Sequence[Sequence[Any]],
    wait: timedelta | None,
    waits_for: int | None,
    delayed_by: DelayReason | None,
) -> None:
    if waits_for is not None and await connection.fetchrow(_IN_FORCE, waits_for) is None:
        wait, waits_for = timedelta(0), None
    await connection.execute(_REQUEUE, *columns, wait, waits_for, delayed_by and delayed_by.value)


def _keys(deliveries: Iterable[Delivery]) -> Sequence[Sequence[Any]]:
    """Return the rows of ``deliveries`` as columns message_id, recipient_index, lease, in the order of locking."""
    keys = [(each.message_id, recipient.index, each.lease) for each in deliveries for recipient in each.recipients]
    return list(zip(*sorted(keys), strict=True))
