"""The queue's engine: takes in what is due, lets lanes start deliveries, and settles what came of them.

Fresh deliveries come straight from the intake, still in memory; retries are leased from the store. Both wait in the
lane of their site. A handful of runners for each lane take one delivery after the other through the courier.

It must never send what ``clearance`` was not given for, never send under a lease that has run out, and never hold more
in memory than the window allows.

While the store is away everything waits where it is. A lease that has run out but is not lost may live again; only a
delivery whose lease was given to others is dropped.

*Limits.* Each worker forms its own picture of a site's health. What does not fit into its lane goes back to the store
for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from bounce.classify import Classifier
from config.schema import QueueSettings, Shaping
from mta.delivery.courier import Courier
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.mail.delivery import Attempt, Delivery, Stage
from mta.mail.identity import format_id
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.observe.events import EventLog
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.awaiting_route import AwaitingRoute
from mta.queue.dsn import DsnComposer
from mta.queue.fair_queue import Weights
from mta.queue.outcome_recorder import OutcomeRecorder
from mta.queue.pre_delivery_check import Accounts, PreDeliveryCheck
from mta.queue.ready_queue import ActiveQueue, ReadyQueue
from mta.queue.requeue import Requeue
from mta.queue.schedule import Schedule
from mta.queue.throttle import Throttle
from mta.store.postgres.errors import StoreUnavailable
from mta.store.results.messages import ContentMissing
from mta.store.store import Store
from policy.profile import Profiles

log = get_logger()

GROW_AFTER = 0.05  # seconds that deliveries wait for a busy runner before more are started
TAKE = 500  # deliveries of one stream leased at once
TROUBLE = timedelta(minutes=1)  # rest after an outcome that could not be written down
SPILL = timedelta(seconds=15)  # rest of what does not fit into its lane
LOOK_EVERY = 1.0  # seconds, at least, between looks at how fast lanes move
REFILL = 0.5  # share of its room below which a lane is filled again from the store
STORE_PAUSE = 1.0  # seconds between tries while the store is away
LONGEST_PAUSE = 1.0  # seconds after which a runner that keeps to a rate looks up, for a new rate
LONGEST_SITE = 120  # characters by which a site is told apart where it is counted
IDLE_LANES = 10_000  # lanes remembered; beyond, idle ones are forgotten

UNREADABLE = Reply(451, "4.3.0", "the message cannot be read from the queue")
INTERNAL = Reply(451, "4.3.0", "internal error; it has been logged")


class Dispatcher:
    """``workers``: how many there are; each takes an equal share of every site's limits."""

    def __init__(
        self,
        *,
        settings: QueueSettings,
        store: Store,
        accounts: Accounts,
        resolver: Resolver,
        courier: Courier,
        notices: DsnComposer,
        profiles: Profiles,
        classifier: Classifier,
        events: EventLog,
        metrics: Metrics,
        workers: int = 1,
    ) -> None:
        self._settings = settings
        self._store = store
        self._resolver = resolver
        self._courier = courier
        self._events = events
        self._metrics = metrics
        self._workers = workers
        self._schedule = _schedule(settings)
        self.window = ActiveQueue(settings.active_deliveries, settings.active_size)
        self.lanes: dict[str, ReadyQueue] = {}
        self._weights = _weights(settings)
        self._unrouted = AwaitingRoute()
        self._returns = Requeue(store.messages, self.window)
        self._settler = OutcomeRecorder(
            store=store,
            window=self.window,
            give_back=lambda delivery: self._returns.add([delivery], TROUBLE),
            events=events,
            metrics=metrics,
            classifier=classifier,
            notices=notices,
            schedule=self._schedule,
        )
        self._clearance = PreDeliveryCheck(
            accounts=accounts,
            breakers=store.breakers,
            suppressions=store.suppressions,
            profiles=profiles,
            settler=self._settler,
            hold=self._returns.hold,
            put_off=lambda delivery: self._returns.add([delivery], SPILL),
            metrics=metrics,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._growing: set[ReadyQueue] = set()
        self._looked_at = time.monotonic()
        self._stopping = asyncio.Event()

    # --- what others tell us

    def configure(
        self, settings: QueueSettings, classifier: Classifier, notices: DsnComposer, profiles: Profiles
    ) -> None:
        """Take over reloaded settings; deliveries under way are not disturbed."""
        self._settings = settings
        self._schedule = _schedule(settings)
        self._settler.configure(classifier, notices, self._schedule)
        self._clearance.configure(profiles)
        self._weights = _weights(settings)
        for lane in self.lanes.values():
            lane.lines.weights = self._weights
        self.window.resize(settings.active_deliveries, settings.active_size)

    def suppressions_changed(self, _: str | None = None) -> None:
        """Somebody was suppressed (or we may have missed it): every earlier check is void."""
        self._clearance.suppressions_changed()

    def queue_changed(self, _: str | None = None) -> None:
        """An operator has changed rows that may be ours: give back what has not begun, to lease it as it is now."""
        self._returns.add(self._take_waiting())

    def submit(self, deliveries: Iterable[Delivery]) -> None:
        """Fresh deliveries, already leased to this worker, room already reserved."""
        for delivery in deliveries:
            self._place(delivery)

    async def run(self) -> None:
        """Take in due deliveries for as long as the worker lives."""
        while not self._stopping.is_set():
            self._make_room()
            try:
                taken = [await self._take_due(stream) for stream in Stream]
            except StoreUnavailable:
                taken = []
            if TAKE not in taken:
                await self._pause(self._settings.poll)

    def measure(self) -> None:
        """Set the gauges that only this worker knows."""
        now = time.monotonic()
        self._metrics.active_recipients.set(self.window.deliveries)
        self._metrics.active_bytes.set(self.window.octets)
        self._metrics.ready_queues.set(sum(not lane.idle for lane in self.lanes.values()))
        self._metrics.ready_queues_in_backoff.set(sum(lane.throttle.is_resting(now) for lane in self.lanes.values()))

    async def stop(self, grace: float) -> None:
        """Give back what waits, let running attempts end, and cut them off after ``grace`` seconds."""
        deadline = asyncio.get_running_loop().time() + grace
        self._stopping.set()
        self._returns.add(self._take_waiting())
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        left = deadline - asyncio.get_running_loop().time()
        await asyncio.gather(self._settler.drain(max(left, STORE_PAUSE)), self._returns.drain(max(left, STORE_PAUSE)))

    def forget(self) -> None:
        """The lease was lost: others own these deliveries now. What runs will find its results refused."""
        for delivery in self._take_waiting():
            self.window.leave(delivery)

    def _take_waiting(self) -> list[Delivery]:
        waiting = [delivery for lane in self.lanes.values() for delivery in lane.take_all()]
        return waiting + self._unrouted.pop_all()

    # --- taking in and placing

    async def _take_due(self, stream: Stream) -> int:
        """Take from the store what there is room for; one stream's backlog is not looked at for the other."""
        room, octets = self.window.free(stream), self.window.free_octets(stream)
        if not (room and octets and self._store.lease.valid):
            return 0
        deliveries = await self._store.messages.lease(
            deliveries=min(room, TAKE), octets=octets, skip=self._full(stream), stream=stream
        )
        placed = 0
        for delivery in deliveries:
            if self.window.enter(delivery):
                self._place(delivery)
                placed += 1
            else:
                self._returns.add([delivery])
        return placed

    def _make_room(self) -> None:
        """When room is scarce, let go of what lanes will not begin within the time for which it is put off."""
        elapsed = time.monotonic() - self._looked_at
        if elapsed < LOOK_EVERY:
            return
        self._looked_at += elapsed
        for lane in self.lanes.values():
            for stream in Stream:
                line = lane.lines[stream]
                if line.waiting and self.window.is_tight(stream):
                    soon = int(line.taken / elapsed * SPILL.total_seconds())
                    self._returns.add(line.cut(max(soon, lane.running, 1)), SPILL)
                line.taken = 0

    def _full(self, stream: Stream) -> set[str]:
        """Destinations of which nothing more of ``stream`` can be used now."""
        now = time.monotonic()
        return {
            destination
            for lane in self.lanes.values()
            if lane.throttle.is_resting(now) or not self.window.has_room(lane.lines[stream], stream, REFILL)
            for destination in lane.destinations
        }

    def _place(self, delivery: Delivery) -> None:
        """Put a delivery into its site's lane, once its route is known."""
        if self._is_over(delivery):
            return
        plan = self._resolver.cached(delivery.destination)
        if plan is not None:
            self._route(delivery, plan)
        elif (count := self._unrouted.count(delivery.stream)) and count >= self.window.free(delivery.stream):
            self._returns.add([delivery], SPILL)
        elif self._unrouted.add(delivery):
            self._spawn(self._find_route(delivery.destination))

    async def _find_route(self, destination: str) -> None:
        try:
            plan = await self._resolver.plan(destination)
        except Exception:
            log.exception("a route could not be found", destination=destination)
            plan = INTERNAL
        for delivery in self._unrouted.pop(destination):
            self._route(delivery, plan)

    def _route(self, delivery: Delivery, plan: Route | Reply) -> None:
        if isinstance(plan, Reply):
            self._end_without_attempt(delivery, plan)
            return
        lane = self._lane(plan)
        lane.remember(delivery.destination)
        if self.window.has_room(lane.lines[delivery.stream], delivery.stream):
            lane.add(delivery)
            self._start(lane)
        else:
            self._returns.add([delivery], SPILL)

    def _lane(self, plan: Route) -> ReadyQueue:
        """The lane of the plan's site, with the limits of now."""
        lane = self.lanes.get(plan.site)
        if lane is None:
            self._forget_lanes()
            lane = self.lanes[plan.site] = ReadyQueue(
                plan.site, plan.shaping, _throttle(plan.shaping, self._workers), self._weights
            )
        elif lane.shaping is not plan.shaping:
            lane.shaping = plan.shaping
            lane.throttle.reshape(_throttle(plan.shaping, self._workers))
        return lane

    def _forget_lanes(self) -> None:
        """Make room for a new lane, if need be; sites known to be in trouble are forgotten last."""
        if len(self.lanes) < IDLE_LANES:
            return
        now = time.monotonic()
        idle = [lane for lane in self.lanes.values() if lane.idle]
        for lane in [lane for lane in idle if not lane.throttle.is_resting(now)] or idle:
            del self.lanes[lane.site]

    # --- running a lane

    def _start(self, lane: ReadyQueue) -> None:
        """See to it that what waits is served: by one runner, by more when there is a crowd or when they are slow."""
        if self._stopping.is_set() or not lane.waiting:
            return
        now = time.monotonic()
        if lane.throttle.is_resting(now):
            self._returns.add(lane.take_all(), timedelta(seconds=lane.throttle.resting_until - now))
        elif lane.startable(now) <= 0:
            pass  # whoever ends looks again
        elif lane.running == 0 or lane.waiting > 2 * lane.running:
            self._start_runners(lane, 1)
        elif lane not in self._growing:
            self._growing.add(lane)
            asyncio.get_running_loop().call_later(GROW_AFTER, self._grow, lane)

    def _grow(self, lane: ReadyQueue) -> None:
        self._growing.discard(lane)
        if not self._stopping.is_set():
            self._start_runners(lane, lane.startable(time.monotonic()))

    def _start_runners(self, lane: ReadyQueue, count: int) -> None:
        for _ in range(count):
            lane.running += 1
            self._spawn(self._serve(lane))

    async def _serve(self, lane: ReadyQueue) -> None:
        """One delivery after the other, for as long as the lane may have so many at once."""
        try:
            while await self._may_start(lane) and (delivery := lane.take()) is not None:
                await self._deliver(lane, delivery)
                self._start(lane)
        finally:
            lane.running -= 1
            self._start(lane)

    async def _may_start(self, lane: ReadyQueue) -> bool:
        """Wait for the moment at which the next message may start; False if this runner is not needed any more."""
        while lane.waiting and not self._stopping.is_set():
            now = time.monotonic()
            if lane.running > lane.throttle.allowed(now):
                return False
            pause = lane.throttle.wait(now)
            if not pause:
                return True
            await self._pause(min(pause, LONGEST_PAUSE))
        return False

    async def _deliver(self, lane: ReadyQueue, delivery: Delivery) -> None:
        """One delivery, from its turn in the lane to its outcome; nothing that happens here may lose it."""
        try:
            await self._attempt(lane, delivery)
        except StoreUnavailable:
            lane.add(delivery)
            await self._pause(STORE_PAUSE)
        except ContentMissing as error:
            log.error("a message cannot be sent", reason=str(error))
            self._end_without_attempt(delivery, UNREADABLE)
        except Exception:
            log.exception("an attempt failed", message=format_id(delivery.message_id))
            self._end_without_attempt(delivery, INTERNAL)

    async def _attempt(self, lane: ReadyQueue, delivery: Delivery) -> None:
        """Still ours, in time, routed here, and cleared? Then one attempt, and what came of it."""
        if delivery.lease != self._store.lease.id:  # the lease was lost meanwhile, and others own it now
            self.window.leave(delivery)
            return
        if self._is_over(delivery):
            return
        plan = self._resolver.cached(delivery.destination) or await self._resolver.plan(delivery.destination)
        if isinstance(plan, Reply) or plan.site != lane.site:
            self._route(delivery, plan)
            return
        delivery.provider = plan.site[:LONGEST_SITE]
        content = delivery.content or await self._store.messages.content(delivery.message_id)
        if not await self._clearance.given(delivery):
            return
        if not self._store.lease.valid:
            raise StoreUnavailable("the lease has run out, and is not lost yet")
        attempt = await self._courier.deliver(delivery, plan, content)
        self._settler.conclude(attempt, content)
        self._heed(lane, attempt)

    def _heed(self, lane: ReadyQueue, attempt: Attempt) -> None:
        """What the attempt says about the site's health."""
        if not outcome.connection_failed(attempt.results):
            lane.throttle.succeeded()
        elif lane.throttle.failed(now := time.monotonic()):
            self._events.destination_backoff(lane.site, lane.throttle.resting_until - now, attempt.results[0].reply)
            self._metrics.backoffs.inc()

    def _is_over(self, delivery: Delivery) -> bool:
        """Whether no attempt is to be made any more; then that is its end."""
        now = datetime.now(UTC)
        if delivery.bounce is not None:
            self._settler.end(*outcome.bounced(delivery, delivery.bounce, now))
        elif delivery.held or self._schedule.is_over(delivery.attempts, now, delivery.expires_at):
            self._settler.end(*outcome.expired(delivery, now))
        else:
            return False
        return True

    def _end_without_attempt(self, delivery: Delivery, reply: Reply) -> None:
        self._settler.conclude(outcome.without_attempt(delivery, Stage.RESOLVE, reply, datetime.now(UTC)))

    # --- tasks

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not on when it is time to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a runner failed", exc_info=error)


def _schedule(settings: QueueSettings) -> Schedule:
    return Schedule(tuple(settings.retry_schedule), settings.retry_jitter, settings.expire_min_attempts)


def _weights(settings: QueueSettings) -> Weights:
    return {
        Stream.TRANSACTIONAL: settings.stream_weights.transactional,
        Stream.MARKETING: settings.stream_weights.marketing,
    }


def _throttle(shaping: Shaping, workers: int) -> Throttle:
    """This worker's share of what the site may get in all; at least one connection."""
    return Throttle(
        ceiling=max(1, shaping.connections // workers),
        initial=max(1, min(shaping.initial_connections, shaping.connections // workers)),
        rest=shaping.backoff,
        rest_after=shaping.backoff_after,
        rate=shaping.message_rate / workers if shaping.message_rate else None,
    )
