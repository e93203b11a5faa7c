"""Messages in the store: queued, leased, read, settled.

``put`` returns only when the message is committed. ``settle`` holds an outcome until it is committed, however long the
database is away. Both work in batches that form by themselves.

It must never report a message as queued that is not, or forget an outcome while the process lives.

*Limits.* A put whose connection was lost in the commit may have been made; its sender is told to try again, and the
message is taken back when the database returns. If rows of it were free for anybody, one may have been faster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, assert_never

import asyncpg

from bounce.suppression import soft_bounce_thresholds
from config.schema import SuppressionSettings
from mta.mail.delivery import Delivery
from mta.mail.identity import MessageId, format_id
from mta.mail.message import Stream
from mta.observe.labels import StoreCall
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.store.postgres.batch import Batch
from mta.store.postgres.database import GONE, Connection, Database
from mta.store.postgres.errors import OutcomeUnknown, StoreUnavailable
from mta.store.postgres.secrets import Secrets
from mta.store.queue import enqueue, holds, retention
from mta.store.queue.claim import ClaimTurn
from mta.store.queue.enqueue import NewMessage
from mta.store.queue.lease import Lease
from mta.store.queue.rows import Row
from mta.store.results import delivery_results
from mta.store.results.delivery_results import DeliveryResult, DetailLevel

__all__ = ["ContentMissing", "DeliveryResult", "Messages", "NewMessage"]

log = get_logger()

PUT_ITEMS, PUT_OCTETS = 64, 4_000_000  # of one batch; a larger message goes alone
SETTLE_ITEMS, SETTLE_ROWS = 100, 500
SETTLE_SECONDS = 30.0  # for one batch; nobody is waiting at a terminal
AGAIN = (0.05, 2.0)  # seconds between tries while the database is away: first, longest

# A connection that we cut may live on in the server for a moment, and commit: it must have ended first.
_END_BACKENDS = """
select pg_terminate_backend(pid, 3000) from pg_stat_activity
where pid = any($1::int[]) and application_name = 'imprimatur' and usename = current_user"""

# A message that somebody else holds rows of by now, or has attempted, is on its way: it is left to them.
_TAKE_BACK_ROWS = """
delete from queue q using unnest($1::uuid[], $2::bigint[]) as one (message_id, lease)
where q.message_id = any($1) and q.message_id = one.message_id
    and not exists (
        select from queue o where o.message_id = one.message_id and o.lease is not null
            and o.lease is distinct from one.lease
    )
    and not exists (select from event e where e.message_id = one.message_id)"""

_TAKE_BACK = """
with gone as (
    delete from message m
    where id = any($1::uuid[]) and not exists (select from queue q where q.message_id = m.id)
        and not exists (select from event e where e.message_id = m.id)
    returning id
)
delete from content where message_id = any(array(select id from gone))"""

_GIVE_BACK = """
update queue q
set lease = null,
    due_at = least(case when q.bounce is null then coalesce($4, q.due_at) else q.due_at end, q.expires_at)
from unnest($1::uuid[], $2::int[], $3::bigint[]) as one (message_id, recipient_index, lease)
where q.message_id = any($1) and q.message_id = one.message_id and q.recipient_index = one.recipient_index
    and q.lease = one.lease"""

_CONTENT = """
select m.size, (select string_agg(octets, '' order by part) from content where message_id = m.id) as content
from message m where m.id = $1"""

_Put = tuple[Sequence[NewMessage], int | None]  # with the lease under which their rows are ours


class ContentMissing(LookupError):
    """A queued message whose content is not there, or not whole: hold it and tell the operator, never send it."""


class Messages:
    """Made by ``Store``."""

    def __init__(self, database: Database, lease: Lease, secrets: Secrets, metrics: Metrics | None) -> None:
        self._database, self._lease, self._secrets, self._metrics = database, lease, secrets, metrics
        self.patience = soft_bounce_thresholds(SuppressionSettings())
        self._puts: Batch[_Put, None] = Batch(
            self._flush_puts,
            items=PUT_ITEMS,
            weight=PUT_OCTETS,
            weigh=lambda put: sum(len(accepted.message.content) for accepted in put[0]),
            abandoned=lambda put, _: self._doubt([put]),
        )
        self._settles: Batch[DeliveryResult, None] = Batch(
            self._flush_settles,
            items=SETTLE_ITEMS,
            weight=SETTLE_ROWS,
            weigh=lambda each: len(each.outcomes),
            keeps=True,
        )
        self._turns = {stream: ClaimTurn(stream) for stream in Stream}
        self._doubtful: dict[MessageId, int | None] = {}  # with the lease under which they were put
        self._astray: list[Delivery] = []  # of a take whose commit was lost: leased to us, or not
        self._backends: set[int] = set()
        self._taking_back: asyncio.Task[None] | None = None

    # putting

    async def put(self, accepted: NewMessage, *, leased: bool) -> list[Delivery]:
        """Queue a message; on return it is committed. Raises StoreUnavailable.

        ``leased``: its deliveries are returned, with their content, as this worker's. Else (or if the message is held,
        or this worker has no valid lease) the list is empty and the rows are due for anybody.
        """
        return await self.put_all([accepted], leased=leased)

    async def put_all(self, copies: Sequence[NewMessage], *, leased: bool) -> list[Delivery]:
        """As ``put``, for messages that are queued together or not at all; all of them are held, or none is."""
        began = time.perf_counter()
        held = any(accepted.hold is not None for accepted in copies)
        lease = self._lease.id if leased and not held and self._lease.valid else None
        try:
            await self._puts.do((copies, lease))
        except StoreUnavailable:
            self._count_unavailable()
            raise
        self._observe(StoreCall.ENQUEUE, began)
        if lease is None:
            return []
        return [delivery for accepted in copies for delivery in enqueue.deliveries(accepted, lease)]

    async def _flush_puts(self, batch: list[_Put], since: float) -> Sequence[Exception | None]:
        left = self._database.timeout - (asyncio.get_running_loop().time() - since)
        try:
            async with self._database.session(left) as connection:
                return await self._insert(connection, batch)
        except OutcomeUnknown as error:
            self._doubt(batch, error.backend)
            raise

    async def _insert(self, connection: Connection, batch: list[_Put]) -> list[Exception | None]:
        """Queue them together; if the database refuses, find out whom it refuses, so that only that one suffers."""
        try:
            flat = [(accepted, lease) for copies, lease in batch for accepted in copies]
            await enqueue.insert(connection, flat, self._secrets)
        except GONE:
            raise
        except Exception as error:
            if connection.is_closed():
                raise
            if len(batch) == 1:
                first = format_id(batch[0][0][0].message.id)
                log.error("a message cannot be queued", message=first, reason=str(error))
                return [error]
            half = len(batch) // 2
            return [*await self._insert(connection, batch[:half]), *await self._insert(connection, batch[half:])]
        return [None] * len(batch)

    def _doubt(self, puts: Iterable[_Put], backend: int | None = None, astray: Iterable[Delivery] = ()) -> None:
        """Messages that may be queued although their sender was told otherwise, or went away before it was told.

        ``backend``: the server's process that may still be queueing them. ``astray``: what may be ours unknown to us.
        """
        self._doubtful.update((accepted.message.id, lease) for copies, lease in puts for accepted in copies)
        self._astray.extend(astray)
        if backend:
            self._backends.add(backend)
        if self._taking_back is None:
            self._taking_back = asyncio.create_task(self._take_back(), name="take back messages")

    async def _take_back(self) -> None:
        wait = AGAIN[0]
        try:
            while self._doubtful or self._astray:
                doubtful, backends, astray = dict(self._doubtful), list(self._backends), list(self._astray)
                try:
                    async with self._database.session() as connection:
                        await connection.execute(_END_BACKENDS, backends)
                        await connection.execute(_TAKE_BACK_ROWS, list(doubtful), list(doubtful.values()))
                        await connection.execute(_TAKE_BACK, list(doubtful))
                        if astray:
                            await connection.execute(_GIVE_BACK, *_keys(astray), None)
                except StoreUnavailable:
                    await asyncio.sleep(wait)
                    wait = min(2 * wait, AGAIN[1])
                else:
                    for message_id in doubtful:
                        self._doubtful.pop(message_id, None)
                    del self._astray[: len(astray)]
                    self._backends.difference_update(backends)
        finally:
            self._taking_back = None

    # leasing and reading

    async def lease(
        self,
        *,
        deliveries: int,
        octets: int,
        skip: Collection[str] = (),
        stream: Stream = Stream.TRANSACTIONAL,
    ) -> list[Delivery]:
        """Take what is due of ``stream``, up to these bounds, as this worker's; without content.

        Raises StoreUnavailable.

        The oldest first, but with a share for every account and destination that waits. Includes what has expired,
        held or not. ``skip``: destinations of which no more is wanted.
        """
        if not self._lease.valid:
            raise StoreUnavailable("this worker has no valid lease")
        if self._doubtful or self._astray:  # first take back what must not be sent, or is held by nobody
            raise StoreUnavailable("messages of unknown fate are still to be taken back")
        began, lease = time.perf_counter(), self._lease.id
        taken: list[Delivery] = []

        async def take(connection: Connection) -> None:
            taken[:] = await self._turns[stream].take(connection, lease, deliveries, octets, skip)

        try:
            await self._database.retried(take)
        except OutcomeUnknown as error:
            if taken:  # the commit may have been made
                self._doubt((), error.backend, taken)
            raise
        self._observe(StoreCall.CLAIM, began)
        return taken

    async def content(self, message_id: MessageId) -> bytes:
        """The message as it goes over the wire. Raises ContentMissing, StoreUnavailable."""
        began = time.perf_counter()
        async with self._database.session() as connection:
            row = await connection.fetchrow(_CONTENT, message_id)
        if row is None or row["content"] is None or len(row["content"]) != row["size"]:
            raise ContentMissing(f"the content of message {format_id(message_id)} is not whole")
        self._observe(StoreCall.CONTENT, began)
        return bytes(row["content"])

    async def give_back(self, deliveries: Iterable[Delivery], due_at: datetime | None = None) -> None:
        """Free rows that are still ours, due at ``due_at`` (unchanged if None); no attempt is counted.

        Raises StoreUnavailable.
        """
        if deliveries := list(deliveries):
            columns = _keys(deliveries)
            await self._database.retried(lambda connection: connection.execute(_GIVE_BACK, *columns, due_at))

    async def hold(self, deliveries: Sequence[Delivery], reason: str) -> None:
        """Free rows that are still ours, and hold them back for as long as their account may not send, or the
        breaker that ``reason`` names is open.

        Raises StoreUnavailable.
        """
        if deliveries:
            await self._database.retried(lambda connection: holds.hold(connection, deliveries, reason))

    # settling

    @property
    def pending(self) -> int:
        """Outcomes that are not committed yet."""
        return self._settles.pending

    async def settle(self, result: DeliveryResult) -> None:
        """Write down what an attempt came to. Returns when it is committed, which may take as long as the database is
        away; a cancelled caller changes nothing about that. Outcomes for rows that are ours no more do not count."""
        began = time.perf_counter()
        await self._settles.do(result)
        self._observe(StoreCall.RECORD_OUTCOME, began)

    async def drain(self, timeout: float) -> bool:
        """Wait until nothing is pending, for at most ``timeout`` seconds; whether that came true."""
        try:
            async with asyncio.timeout(timeout):
                await self._settles.drain()
        except TimeoutError:
            return False
        return True

    async def _flush_settles(self, batch: list[DeliveryResult], _since: float) -> Sequence[Exception | None]:
        wait = AGAIN[0]
        while True:
            try:
                return await self._settle(batch, DetailLevel.FULL)
            except StoreUnavailable:
                self._count_unavailable()
                await asyncio.sleep(wait)
                wait = min(2 * wait, AGAIN[1])

    async def _settle(self, batch: Sequence[DeliveryResult], care: DetailLevel) -> list[Exception | None]:
        """Write a batch; if the database refuses its data, split it, and at last write less, rather than nothing."""
        try:
            await self._write(batch, care)
        except StoreUnavailable:
            raise
        except asyncpg.TransactionRollbackError:  # a deadlock, which the other one has won
            return await self._settle(batch, care)
        except Exception as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return [*await self._settle(batch[:half], care), *await self._settle(batch[half:], care)]
            message = format_id(batch[0].attempt.delivery.message_id)
            log.error("an outcome was refused", message=message, tried=care.value, reason=str(error))
            match care:
                case DetailLevel.FULL:
                    return await self._settle(batch, DetailLevel.WITHOUT_TEXT)
                case DetailLevel.WITHOUT_TEXT:
                    return await self._settle(batch, DetailLevel.BARE)
                case DetailLevel.BARE:
                    return [error]
                case _:
                    assert_never(care)
        return [None] * len(batch)

    async def _write(self, batch: Sequence[DeliveryResult], care: DetailLevel) -> None:
        lease = batch[0].attempt.delivery.lease
        plain: list[DeliveryResult] = []
        others: list[DeliveryResult] = []
        for each in batch:
            (plain if each.ends_message and each.attempt.delivery.lease == lease else others).append(each)
        counted: set[Row] = set()
        if plain:
            async with self._database.session(SETTLE_SECONDS) as connection:
                counted |= await delivery_results.end_messages(connection, plain, care)
        if others:
            counted |= await self._database.retried(
                lambda connection: delivery_results.settle(connection, others, self._secrets, care, self.patience),
                seconds=SETTLE_SECONDS,
            )
        if len(counted) < sum(len(each.outcomes) for each in batch):
            async with self._database.session(SETTLE_SECONDS) as connection:
                await delivery_results.note_pulled(connection, batch, counted, care)

    # housekeeping

    async def sweep(self, keep: float) -> retention.Swept:
        """Delete what nobody needs: records and events older than ``keep`` seconds, content without queue rows.

        In small transactions; meant for once in a while. Raises StoreUnavailable.
        """
        return await retention.sweep(self._database, datetime.now(UTC), keep)

    def _observe(self, call: StoreCall, began: float) -> None:
        if self._metrics:
            self._metrics.store_seconds[call].observe(time.perf_counter() - began)

    def _count_unavailable(self) -> None:
        if self._metrics:
            self._metrics.store_unavailable.inc()


def _keys(deliveries: Iterable[Delivery]) -> Sequence[Sequence[Any]]:
    """The rows of ``deliveries`` as columns message_id, recipient_index, lease, in the order of locking."""
    keys = [(each.message_id, recipient.index, each.lease) for each in deliveries for recipient in each.recipients]
    return list(zip(*sorted(keys), strict=True))
