"""Record outcomes: decide what an attempt means, compose the DSN that follows from it, and write both.

``record`` returns at once: the outcome is kept here until the store has committed it. Results are written in batches
that form by themselves.

Invariants: no outcome is lost to an internal error: a DSN that cannot be composed is left out, replies that cannot be
classified are tried again, and a message that was delivered is never sent again for it.
Limitations: if the store rejects an outcome permanently, what was delivered keeps its lease, and is sent again only
after this worker has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from bounce.classify import Classifier
from config.schema import PathLimits
from mta.mail.delivery import Attempt, Delivered
from mta.mail.identity import MessageId, format_id
from mta.observe.events import EventLog
from mta.observe.labels import StoreCall
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.active_queue import Job
from mta.queue.dsn import DsnComposer
from mta.queue.dsn_message import DsnKind, DsnRecipient
from mta.queue.outcome import Decision
from mta.queue.requeue import NOT_RECORDED, Requeue
from mta.queue.schedule import Schedule
from mta.queue.send_windows import SendWindows
from mta.queue.short_tasks import ShortTasks
from mta.store.postgres.batch import Batch
from mta.store.postgres.errors import StoreUnavailable
from mta.store.queue.content import ContentMissing
from mta.store.queue.enqueue import NewMessage
from mta.store.results.delivery_results import DeliveryResult
from mta.store.store import Store

log = get_logger()

BATCH_ITEMS, BATCH_OUTCOMES = 100, 500  # of one write
APART = 0.02  # seconds between two writes: a statement costs more than a row, and no client is waiting
RETRY_PAUSES = (0.05, 2.0)  # seconds between tries while the store is away: first, longest


class OutcomeRecorder:
    """``requeue``: takes a delivery whose outcome could not be recorded."""

    def __init__(
        self,
        *,
        store: Store,
        requeue: Requeue,
        events: EventLog,
        metrics: Metrics,
        classifier: Classifier,
        dsn: DsnComposer,
        schedule: Schedule,
        windows: SendWindows,
    ) -> None:
        self._store = store
        self._requeue = requeue
        self._events = events
        self._metrics = metrics
        self._recording = ShortTasks("recording failed")
        self._batch: Batch[DeliveryResult, None] = Batch(
            self._flush,
            items=BATCH_ITEMS,
            weight=BATCH_OUTCOMES,
            weigh=lambda each: len(each.outcomes),
            keeps=True,
            apart=APART,
        )
        self.configure(classifier, dsn, schedule, windows)

    def configure(self, classifier: Classifier, dsn: DsnComposer, schedule: Schedule, windows: SendWindows) -> None:
        """Take over reloaded settings."""
        self._classifier, self._dsn, self._schedule, self._windows = classifier, dsn, schedule, windows

    @property
    def schedule(self) -> Schedule:
        """The retry schedule; without expiry while a clock cannot be trusted."""
        return self._schedule if self._store.clock.fault is None else replace(self._schedule, expiry=False)

    def schedule_for(self, limits: PathLimits) -> Schedule:
        """Return the retry schedule of a path."""
        if limits.retry_schedule is None and limits.expire_after is None:
            return self.schedule
        waits = limits.retry_schedule or self.schedule.waits
        return replace(self.schedule, waits=waits, longest=limits.expire_after)

    def record_attempt(
        self, job: Job, attempt: Attempt, content: bytes | None = None, limits: PathLimits | None = None
    ) -> Decision:
        """Decide what an attempt means, record it, and return it. ``content``: the message, if it is in memory.
        ``limits``: of the path, if it was known."""
        now, schedule = datetime.now(UTC), self.schedule_for(limits) if limits else self.schedule
        if windows := self._windows.of(attempt.delivery):
            schedule = replace(schedule, windows=windows)
        try:
            decision = outcome.decide(attempt, self._classifier, schedule, now)
        except Exception:
            log.exception("classification failed", message=format_id(attempt.delivery.message_id))
            decision = outcome.decide_unclassified(attempt, schedule, now)
        self.record(job, decision, content)
        return decision

    def record(self, job: Job, decision: Decision, content: bytes | None = None) -> None:
        """Record what has been decided. The room of ``job`` in the active queue is released when it is committed."""
        self._recording.start(self._record(job, decision, content))

    async def _record(self, job: Job, decision: Decision, content: bytes | None) -> None:
        attempt, outcomes = decision.attempt, decision.outcomes
        recipients, dsn = await self._compose_dsn(decision, content)
        delayed = dsn is not None and any(each.kind is DsnKind.DELAYED for each in recipients)
        try:
            await self.commit(DeliveryResult(attempt, outcomes, dsn, delay_dsn_sent=delayed))
        except Exception:
            log.exception("outcome could not be recorded", message=format_id(attempt.delivery.message_id))
            if not any(isinstance(each, Delivered) for each in outcomes):
                self._requeue.add([job], NOT_RECORDED)
            return
        finally:
            job.release()
        self._metrics.outcome_recorded(attempt, outcomes)
        self._events.outcome(attempt, outcomes)
        if dsn:
            self._report_dsn(dsn, recipients, attempt.delivery.message_id)

    async def commit(self, result: DeliveryResult) -> None:
        """Write a result; return when it is committed, however long the store is away.

        A cancelled caller changes nothing about that. Results for rows that are no longer ours do not count. Raises
        the store's error if it rejects the result permanently.
        """
        began = time.perf_counter()
        await self._batch.do(result)
        self._metrics.store_seconds[StoreCall.RECORD_OUTCOME].observe(time.perf_counter() - began)

    async def _flush(self, batch: list[DeliveryResult], _since: float) -> Sequence[Exception | None]:
        pause, tries = RETRY_PAUSES[0], 0
        while True:
            try:
                return await self._store.results.write(batch, tries=tries)
            except StoreUnavailable:
                self._metrics.store_unavailable.inc()
                await asyncio.sleep(pause)
                pause, tries = min(2 * pause, RETRY_PAUSES[1]), tries + 1

    @property
    def pending(self) -> int:
        """Results that are not committed yet."""
        return self._batch.pending

    async def drain(self, seconds: float) -> bool:
        """Wait until everything is committed, for at most ``seconds``; return whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._recording.join()
                await self._batch.drain()
        except TimeoutError:
            return False
        return True

    # --- DSN

    async def _compose_dsn(
        self, decision: Decision, content: bytes | None
    ) -> tuple[Sequence[DsnRecipient], NewMessage | None]:
        """Return the recipients that a DSN is due for, and the DSN."""
        attempt, message_id = decision.attempt, decision.attempt.delivery.message_id
        try:
            recipients = self._dsn.wanted(attempt, decision.outcomes)
            if not recipients:
                return (), None
            if content is None:
                with suppress(StoreUnavailable, ContentMissing):  # then the DSN returns nothing of it
                    found = await self._store.messages.content(message_id)
                    content = found if isinstance(found, bytes) else found.head
            return recipients, self._dsn.compose(attempt, recipients, content)
        except Exception:
            log.exception("DSN could not be composed", about=format_id(message_id))
            return (), None

    def _report_dsn(self, dsn: NewMessage, recipients: Sequence[DsnRecipient], about: MessageId) -> None:
        self._metrics.dsn.inc()
        self._events.dsn(
            dsn.message.id,
            about=about,
            recipient=dsn.message.envelope.recipients[0].address,
            kind=recipients[0].kind.value,
        )
