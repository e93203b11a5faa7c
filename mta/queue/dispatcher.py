"""The queue's engine: takes in what is due, lets lanes start deliveries, and settles what came of them.

Fresh deliveries come straight from the intake, still in memory; retries are leased from the store. Both wait in the
lane of their site. A handful of runners for each lane take one delivery after the other through the courier.

It must never send a recipient that was not checked against the suppressions, never send under a lease that has run
out, and never hold more in memory than the window allows.

*Limits.* Each worker forms its own picture of a site's health. A lane takes at most half of the window; what does not
fit goes back to the store for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from bounce.classify import Classifier
from bounce.notice import Kind, Told
from config.schema import Queue, Shaping
from mta.mail.delivery import Attempt, Delivery, Outcome, QueuedRecipient, Stage
from mta.mail.identity import format_id
from mta.mail.reply import Reply
from mta.observe.events import EventLog
from mta.observe.metrics import Metrics
from mta.outbound.courier import Courier
from mta.outbound.mx import Resolver
from mta.outbound.plan import Plan
from mta.queue import settle
from mta.queue.lanes import Lane, Window
from mta.queue.notices import Notices
from mta.queue.schedule import Schedule
from mta.queue.throttle import Throttle
from mta.store.errors import StoreUnavailable
from mta.store.messages import Accepted, ContentMissing, Settlement
from mta.store.store import Store
from policy.rules.suppressed import refusal

log = structlog.get_logger()

CHECK_HOLDS = 1.0  # seconds for which a suppression check counts, if no suppression was added since
GROW_AFTER = 0.05  # seconds that deliveries wait for a busy runner before more are started
TAKE = 500  # deliveries leased at once
TROUBLE = timedelta(minutes=1)  # rest after an error of our own
DAMAGED = timedelta(hours=1)  # rest of a delivery whose message cannot be read
SPILL = timedelta(seconds=15)  # rest of what does not fit into its lane
STORE_PAUSE = 1.0  # seconds between tries while the store is away
IDLE_LANES = 10_000  # lanes remembered; beyond, idle ones are forgotten


class Dispatcher:
    """``workers``: how many there are; each takes an equal share of every site's limits."""

    def __init__(
        self,
        *,
        settings: Queue,
        store: Store,
        resolver: Resolver,
        courier: Courier,
        notices: Notices,
        classifier: Classifier,
        events: EventLog,
        metrics: Metrics,
        workers: int = 1,
    ) -> None:
        self._settings = settings
        self._store = store
        self._resolver = resolver
        self._courier = courier
        self._notices = notices
        self._classifier = classifier
        self._events = events
        self._metrics = metrics
        self._schedule = _schedule(settings)
        self.window = Window(settings.window_deliveries, settings.window_size)
        self.lanes: dict[str, Lane] = {}
        self._unrouted: dict[str, list[Delivery]] = {}  # destination -> deliveries waiting for its route
        self._tasks: set[asyncio.Task[None]] = set()
        self._growing: set[str] = set()
        self._suppressions_changed = 0.0
        self._workers = workers
        self._stopping = False

    # --- what others tell us

    def configure(self, settings: Queue, classifier: Classifier, notices: Notices) -> None:
        """Take over reloaded settings; deliveries under way are not disturbed."""
        self._settings, self._classifier, self._notices = settings, classifier, notices
        self._schedule = _schedule(settings)
        self.window.max_deliveries, self.window.max_octets = settings.window_deliveries, settings.window_size

    def suppressions_changed(self, _: str | None = None) -> None:
        """Somebody was suppressed (or we may have missed it): every earlier check is void."""
        self._suppressions_changed = time.monotonic()

    def submit(self, deliveries: Iterable[Delivery]) -> None:
        """Fresh deliveries, already leased to this worker, room already reserved."""
        for delivery in deliveries:
            self._place(delivery)

    async def run(self) -> None:
        """Take in due deliveries for as long as the worker lives."""
        while not self._stopping:
            try:
                taken = await self._take_due()
            except StoreUnavailable:
                taken = 0
            if taken < TAKE:
                await asyncio.sleep(self._settings.poll)

    def measure(self) -> None:
        """Set the gauges that only this worker knows."""
        now = time.monotonic()
        busy = [lane for lane in self.lanes.values() if not lane.idle]
        self._metrics.window.set(self.window.deliveries)
        self._metrics.window_bytes.set(self.window.octets)
        self._metrics.lanes.set(len(busy))
        self._metrics.lanes_resting.set(sum(now < lane.throttle.resting_until for lane in self.lanes.values()))

    async def stop(self, grace: float) -> None:
        """Give back what waits, let running attempts end, and cut them off after ``grace`` seconds."""
        self._stopping = True
        waiting = [delivery for lane in self.lanes.values() for delivery in lane.take_all()]
        waiting += [delivery for queue in self._unrouted.values() for delivery in queue]
        self._unrouted.clear()
        for delivery in waiting:
            self.window.release(delivery.reserved)
        try:
            await self._store.messages.give_back(waiting)
        except StoreUnavailable:
            pass  # they are free again when our lease is found dead
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def forget(self) -> None:
        """The lease was lost: others own these deliveries now. What runs will find its results refused."""
        for lane in self.lanes.values():
            for delivery in lane.take_all():
                self.window.release(delivery.reserved)
        for queue in self._unrouted.values():
            for delivery in queue:
                self.window.release(delivery.reserved)
        self._unrouted.clear()

    # --- taking in and placing

    async def _take_due(self) -> int:
        room = self.window.max_deliveries - self.window.deliveries
        octets = self.window.max_octets - self.window.octets
        if room <= 0 or octets <= 0 or not self._store.lease.valid:
            return 0
        deliveries = await self._store.messages.lease(deliveries=min(room, TAKE), octets=octets, skip=self._full())
        excess = []
        for delivery in deliveries:
            delivery.reserved = delivery.size
            if self.window.reserve(delivery.reserved):
                self._place(delivery)
            else:
                excess.append(delivery)
        if excess:
            await self._store.messages.give_back(excess)
        return len(deliveries) - len(excess)

    def _full(self) -> set[str]:
        """Destinations of which nothing more can be used now."""
        now = time.monotonic()
        return {
            destination
            for lane in self.lanes.values()
            if lane.waiting >= self._lane_room or now < lane.throttle.resting_until
            for destination in lane.destinations
        }

    @property
    def _lane_room(self) -> int:
        return max(1, self.window.max_deliveries // 2)

    def _place(self, delivery: Delivery) -> None:
        """Put a delivery into its site's lane, once its route is known."""
        plan = self._resolver.cached(delivery.destination)
        if plan is None:
            queue = self._unrouted.setdefault(delivery.destination, [])
            queue.append(delivery)
            if len(queue) == 1:
                self._spawn(self._find_route(delivery.destination))
        elif isinstance(plan, Reply):
            self._end_without_attempt(delivery, Stage.RESOLVE, plan)
        else:
            self._line_up(delivery, plan)

    async def _find_route(self, destination: str) -> None:
        plan = await self._resolver.plan(destination)
        for delivery in self._unrouted.pop(destination, ()):
            if isinstance(plan, Reply):
                self._end_without_attempt(delivery, Stage.RESOLVE, plan)
            else:
                self._line_up(delivery, plan)

    def _line_up(self, delivery: Delivery, plan: Plan) -> None:
        lane = self.lanes.get(plan.site) or self._open_lane(plan)
        lane.destinations.add(delivery.destination)
        now = time.monotonic()
        if (rest := lane.throttle.resting_until - now) > 0:
            self._put_off([delivery], timedelta(seconds=rest))
        elif lane.waiting >= self._lane_room:
            self._put_off([delivery], SPILL)
        else:
            lane.add(delivery)
            self._start(lane, now)

    def _open_lane(self, plan: Plan) -> Lane:
        if len(self.lanes) >= IDLE_LANES:
            for site in [site for site, lane in self.lanes.items() if lane.idle]:
                del self.lanes[site]
        lane = self.lanes[plan.site] = Lane(plan.site, _throttle(plan.shaping, self._workers))
        return lane

    def _put_off(self, deliveries: list[Delivery], wait: timedelta) -> None:
        """Back to the store, due again after ``wait``; no attempt is counted."""
        for delivery in deliveries:
            self.window.release(delivery.reserved)
        self._spawn(self._give_back(deliveries, datetime.now(UTC) + wait))

    async def _give_back(self, deliveries: list[Delivery], due_at: datetime) -> None:
        while self._store.lease.valid:
            try:
                return await self._store.messages.give_back(deliveries, due_at)
            except StoreUnavailable:
                await asyncio.sleep(STORE_PAUSE)
        return None

    # --- running a lane

    def _start(self, lane: Lane, now: float) -> None:
        """Start runners: one at once, more when there is a crowd or when the running ones are slow."""
        if self._stopping:
            return
        startable = lane.startable(now)
        if startable <= 0:
            return
        wanted = 1 if lane.running == 0 else int(lane.waiting > 2 * lane.running)
        if wanted:
            self._start_runners(lane, wanted)
        elif lane.site not in self._growing:
            self._growing.add(lane.site)
            asyncio.get_running_loop().call_later(GROW_AFTER, self._grow, lane)

    def _grow(self, lane: Lane) -> None:
        self._growing.discard(lane.site)
        if not self._stopping:
            self._start_runners(lane, max(0, lane.startable(time.monotonic())))

    def _start_runners(self, lane: Lane, count: int) -> None:
        for _ in range(count):
            lane.running += 1
            self._spawn(self._serve(lane))

    async def _serve(self, lane: Lane) -> None:
        """One delivery after the other, for as long as the lane may have so many at once."""
        try:
            while (delivery := lane.take()) is not None:
                if pause := lane.throttle.wait(time.monotonic()):
                    await asyncio.sleep(pause)
                await self._deliver(lane, delivery)
                if self._stopping or lane.running > lane.throttle.allowed(time.monotonic()):
                    break
        finally:
            lane.running -= 1
            self._start(lane, time.monotonic())

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        """One delivery, from its turn in the lane to its outcome; nothing that happens here may lose it."""
        try:
            await self._attempt(lane, delivery)
        except StoreUnavailable:
            lane.add(delivery)
            await asyncio.sleep(STORE_PAUSE)
        except ContentMissing as error:
            log.error("a delivery is put off", reason=str(error))
            self._put_off([delivery], DAMAGED)
        except Exception:
            log.exception("a delivery is put off", message=format_id(delivery.message_id))
            self._put_off([delivery], TROUBLE)

    async def _attempt(self, lane: Lane, delivery: Delivery) -> None:
        """Still ours, still wanted, still in time? Then one attempt, and what came of it."""
        if not self._store.lease.valid:
            self.window.release(delivery.reserved)
            return
        wanted = await self._without_suppressed(delivery)
        if wanted is None:
            return
        now = datetime.now(UTC)
        if wanted.bounce is not None:
            self._end(*settle.bounced(wanted, wanted.bounce, now))
            return
        if wanted.held or self._schedule.is_over(wanted.attempts, now, wanted.expires_at):
            self._end(*settle.expired(wanted, now))
            return
        plan = self._resolver.cached(wanted.destination) or await self._resolver.plan(wanted.destination)
        if isinstance(plan, Reply):
            self._end_without_attempt(wanted, Stage.RESOLVE, plan)
            return
        content = wanted.content or await self._store.messages.content(wanted.message_id)
        attempt = await self._courier.deliver(wanted, plan, content)
        self._heed(lane, attempt)
        self._conclude(attempt, content)

    def _heed(self, lane: Lane, attempt: Attempt) -> None:
        """What the attempt says about the site's health."""
        if not settle.connection_failed(attempt.results):
            lane.throttle.succeeded()
        elif lane.throttle.failed(time.monotonic()):
            rest = lane.throttle.resting_until - time.monotonic()
            self._events.lane_rests(lane.site, rest, attempt.results[0].reply)
            self._metrics.rests.inc()
            self._put_off(lane.take_all(), timedelta(seconds=rest))

    async def _without_suppressed(self, delivery: Delivery) -> Delivery | None:
        """The delivery without recipients who were suppressed while it waited; None if nobody is left."""
        now = time.monotonic()
        if delivery.checked_at > max(self._suppressions_changed, now - CHECK_HOLDS):
            return delivery
        found = await self._store.suppressions.find(
            delivery.account_id, [recipient.address for recipient in delivery.recipients]
        )
        delivery.checked_at = now
        if not found:
            return delivery
        reasons = {suppression.address.key: refusal(suppression) for suppression in found}
        refused = {r: reasons[r.address.key] for r in delivery.recipients if r.address.key in reasons}
        kept = tuple(r for r in delivery.recipients if r not in refused)
        self._end_suppressed(delivery, refused, alone=not kept)
        return replace(delivery, recipients=kept, whole=False) if kept else None

    def _end_suppressed(self, delivery: Delivery, refused: dict[QueuedRecipient, Reply], *, alone: bool) -> None:
        self._metrics.recipients_suppressed.inc(len(refused))
        part = replace(delivery, recipients=tuple(refused), whole=delivery.whole and alone)
        part.reserved = delivery.reserved if alone else 0
        self._end(*settle.suppressed(part, refused, datetime.now(UTC)))

    # --- settling

    def _end_without_attempt(self, delivery: Delivery, stage: Stage, reply: Reply) -> None:
        self._conclude(settle.without_attempt(delivery, stage, reply, datetime.now(UTC)), None)

    def _conclude(self, attempt: Attempt, content: bytes | None) -> None:
        outcomes = settle.conclude(attempt, self._classifier, self._schedule, datetime.now(UTC))
        self._end(attempt, outcomes, content)

    def _end(self, attempt: Attempt, outcomes: tuple[Outcome, ...], content: bytes | None = None) -> None:
        self._spawn(self._settle(attempt, outcomes, content))

    async def _settle(self, attempt: Attempt, outcomes: tuple[Outcome, ...], content: bytes | None) -> None:
        """Commit the outcomes with the notice that follows from them; only then is the room free again."""
        try:
            told = self._notices.wanted(attempt, outcomes)
            notice = await self._notice(attempt, told, content) if told else None
            delayed = any(part.kind is Kind.DELAYED for part in told)
            await self._store.messages.settle(Settlement(attempt, outcomes, notice, delay_told=delayed))
        finally:
            self.window.release(attempt.delivery.reserved)
        self._metrics.settled(attempt, outcomes)
        self._events.settled(attempt, outcomes)

    async def _notice(self, attempt: Attempt, told: Sequence[Told], content: bytes | None) -> Accepted:
        if content is None:
            with contextlib.suppress(StoreUnavailable):  # then it goes without the message
                content = await self._store.messages.content(attempt.delivery.message_id)
        notice = self._notices.compose(attempt, told, content)
        self._metrics.notices.inc()
        self._events.notice(
            notice.message.id,
            about=attempt.delivery.message_id,
            recipient=notice.message.envelope.recipients[0].address,
            kind=told[0].kind.value,
        )
        return notice

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery task failed", exc_info=error)


def _schedule(settings: Queue) -> Schedule:
    return Schedule(tuple(settings.retry), settings.retry_jitter, settings.expire_min_attempts)


def _throttle(shaping: Shaping, workers: int) -> Throttle:
    """This worker's share of what the site may get in all; at least one connection."""
    return Throttle(
        ceiling=max(1, shaping.connections // workers),
        initial=max(1, min(shaping.initial_connections, shaping.connections // workers)),
        rest=shaping.backoff,
        rest_after=shaping.backoff_after,
        rate=shaping.message_rate / workers if shaping.message_rate else None,
    )
