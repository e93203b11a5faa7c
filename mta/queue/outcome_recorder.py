"""From what an attempt came to, to what is committed: classified, with the notice that follows from it, settled.

Whoever hands an attempt in need not wait: the outcome is kept here until the store has it.

It must never lose an outcome to an error of our own: what a broken rule or an impossible notice would have added is
left out, and a message that was delivered is never sent again for it.

*Limits.* If the store refuses an outcome for good, what was delivered keeps its lease, and is sent again only after
this worker's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from bounce.classify import Classifier
from bounce.dsn_message import DsnKind, DsnRecipient
from mta.mail.delivery import Attempt, Delivered, Delivery, Outcome
from mta.mail.identity import format_id
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue.dsn import DsnComposer
from mta.queue.outcome import conclude, unclassified
from mta.queue.ready_queue import ActiveQueue
from mta.queue.schedule import Schedule
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.messages import ContentMissing, DeliveryResult, NewMessage
from mta.store.store import Store

log = get_logger()


class OutcomeRecorder:
    """``window``: where deliveries leave it once they are settled. ``give_back``: takes one that could not be."""

    def __init__(
        self,
        *,
        store: Store,
        window: ActiveQueue,
        give_back: Callable[[Delivery], None],
        events: EventLog,
        metrics: Metrics,
        classifier: Classifier,
        notices: DsnComposer,
        schedule: Schedule,
    ) -> None:
        self._store = store
        self._window = window
        self._give_back = give_back
        self._events = events
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self.configure(classifier, notices, schedule)

    def configure(self, classifier: Classifier, notices: DsnComposer, schedule: Schedule) -> None:
        """Take over reloaded settings."""
        self._classifier, self._notices, self._schedule = classifier, notices, schedule

    def conclude(self, attempt: Attempt, content: bytes | None = None) -> None:
        """Settle what the replies mean. ``content``: the message, if it is at hand."""
        now = datetime.now(UTC)
        try:
            outcomes = conclude(attempt, self._classifier, self._schedule, now)
        except Exception:
            log.exception("replies could not be classified", message=format_id(attempt.delivery.message_id))
            outcomes = unclassified(attempt, self._schedule, now)
        self.end(attempt, outcomes, content)

    def end(self, attempt: Attempt, outcomes: tuple[Outcome, ...], content: bytes | None = None) -> None:
        """Settle what is known already."""
        self._spawn(self._settle(attempt, outcomes, content))

    async def drain(self, seconds: float) -> None:
        """Wait until everything handed in is settled, for at most so long. What is not goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)

    async def _settle(self, attempt: Attempt, outcomes: tuple[Outcome, ...], content: bytes | None) -> None:
        """Commit the outcomes and the notice together; only then is the room in memory free again."""
        delivery = attempt.delivery
        told, notice = await self._notice(attempt, outcomes, content)
        delayed = notice is not None and any(part.kind is DsnKind.DELAYED for part in told)
        try:
            await self._store.messages.settle(DeliveryResult(attempt, outcomes, notice, delay_dsn_sent=delayed))
        except Exception:
            log.exception("an outcome cannot be written down", message=format_id(delivery.message_id))
            if not any(isinstance(outcome, Delivered) for outcome in outcomes):
                self._give_back(delivery)
            return
        finally:
            self._window.leave(delivery)
        self._metrics.outcome_recorded(attempt, outcomes)
        self._events.outcome(attempt, outcomes)
        if notice:
            self._tell_of(notice, told, delivery)

    async def _notice(
        self, attempt: Attempt, outcomes: Sequence[Outcome], content: bytes | None
    ) -> tuple[Sequence[DsnRecipient], NewMessage | None]:
        """What the sender is to be told, and the message that tells it."""
        try:
            told = self._notices.wanted(attempt, outcomes)
            if not told:
                return (), None
            if content is None:
                with suppress(StoreUnavailable, ContentMissing):  # then it goes without the message
                    content = await self._store.messages.content(attempt.delivery.message_id)
            return told, self._notices.compose(attempt, told, content)
        except Exception:
            log.exception("a notice could not be made", about=format_id(attempt.delivery.message_id))
            return (), None

    def _tell_of(self, notice: NewMessage, told: Sequence[DsnRecipient], about: Delivery) -> None:
        self._metrics.dsn.inc()
        self._events.dsn(
            notice.message.id,
            about=about.message_id,
            recipient=notice.message.envelope.recipients[0].address,
            kind=told[0].kind.value,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("settling failed", exc_info=error)
