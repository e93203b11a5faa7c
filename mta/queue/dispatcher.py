"""The queue's engine: claims what is due, lets ready queues start deliveries, and records their outcomes.

Fresh deliveries come straight from submission, still in memory; retries are claimed from the store. Both wait in the
ready queue of their egress path, from which a few runners take one job after the other to the courier.

Invariants: nothing is sent that has not passed the pre-delivery check, or under a lease that has run out; no more is in
memory than the active queue allows. While the store is away everything waits where it is. A lease that has run out but
is not lost may become valid again; only deliveries whose lease was given to others are dropped.
Where mail goes is looked up when it is due: what waits for a site in backoff waits for the end of that, or of the DNS
answer that has led there, whichever is first.

Limitations: each worker forms its own picture of a path's health. What does not fit into its ready queue goes back to
the store for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil

from bounce.classify import Classifier
from config.schema import EgressSettings, QueueSettings, ShapingSettings
from mta.delivery.courier import Courier
from mta.delivery.egress.actions import ActionsInForce
from mta.delivery.egress.paths import PathKey
from mta.delivery.egress.sources import SourceFailed
from mta.delivery.egress.warmup import WarmupPlans
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.delivery.shortage import Shortage, ShortageLog
from mta.mail.identity import format_id
from mta.mail.reply import Reply
from mta.mail.shaping_action import ActionScope, Effect, Place
from mta.observe.background import BackgroundTasks
from mta.observe.events import EventLog
from mta.observe.labels import Lookup
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.queue import outcome
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.claims import Claims
from mta.queue.connection_budget import ConnectionBudget
from mta.queue.dsn import AccountLookup, DsnComposer
from mta.queue.limit_leasing import LimitLeasing, Starts
from mta.queue.outcome import Decision
from mta.queue.outcome_recorder import OutcomeRecorder
from mta.queue.paths import NoSource, Paths, Paused
from mta.queue.pre_delivery_check import PreDeliveryCheck
from mta.queue.ready_queue import AwaitingRoute, ReadyQueue
from mta.queue.reply_watch import ReplyWatch
from mta.queue.requeue import NO_ROOM, Requeue
from mta.queue.runners import Runners
from mta.queue.schedule import Schedule
from mta.queue.send_windows import SendWindows
from mta.queue.short_tasks import ShortTasks
from mta.queue.tenant_limits import TenantLimits
from mta.queue.warmup import WarmupGate, WarmupWait
from mta.store.postgres.errors import StoreUnavailable
from mta.store.queue.content import ContentMissing
from mta.store.store import Store
from policy.profile import Profiles

log = get_logger()

STORE_PAUSE = 1.0  # seconds between tries while the store is away
SHORTAGE_PAUSE = timedelta(seconds=2)  # wait of what this machine is short of something for

UNREADABLE = Reply(451, "4.3.0", "message could not be read from the queue")
INTERNAL = Reply(451, "4.3.0", "internal error; it has been logged")


class Dispatcher:
    """``connections``: most of this worker at once."""

    def __init__(
        self,
        *,
        settings: QueueSettings,
        egress: EgressSettings,
        shaping: ShapingSettings,
        store: Store,
        accounts: AccountLookup,
        resolver: Resolver,
        courier: Courier,
        dsn: DsnComposer,
        profiles: Profiles,
        classifier: Classifier,
        events: EventLog,
        metrics: Metrics,
        tasks: BackgroundTasks,
        connections: int = 100_000,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._resolver = resolver
        self._courier = courier
        self._events = events
        self._metrics = metrics
        self.active_queue = ActiveQueue(settings.active_deliveries, settings.active_size)
        self.limits = LimitLeasing(store.egress_limits, store.lease, tasks, partial(courier.revoke, in_doubt=False))
        self._tasks = ShortTasks("runner failed")
        self._stopping = asyncio.Event()
        self._requeue = Requeue(store.messages, tasks)
        self._runners = Runners(
            limits=self.limits,
            connections=ConnectionBudget(connections),
            tenants=TenantLimits(shaping, accounts, self.limits, self._requeue),
            close_idle=courier.close_idle,
            deliver=self._deliver,
            sit_out=self._sit_out,
            spawn=self._tasks.start,
            stopping=self._stopping,
        )
        self.connections = self._runners.connections
        self.ready_queues = Paths(
            egress,
            shaping,
            settings.stream_weights,
            courier.sources,
            accounts,
            self.limits.permits,
            self._runners.changed,
        )
        self._shortages = ShortageLog()
        self._awaiting_route = AwaitingRoute()
        self.send_windows = SendWindows(settings.send_windows, accounts)
        self._recorder = OutcomeRecorder(
            store=store,
            requeue=self._requeue,
            events=events,
            metrics=metrics,
            classifier=classifier,
            dsn=dsn,
            schedule=_schedule(settings),
            windows=self.send_windows,
        )
        self._check = PreDeliveryCheck(
            accounts=accounts,
            breakers=store.breakers,
            suppressions=store.suppressions,
            takedowns=store.takedowns,
            profiles=profiles,
            recorder=self._recorder,
            requeue=self._requeue,
            metrics=metrics,
        )
        self._replies = ReplyWatch(shaping, store, events, metrics)
        self._warmup = WarmupGate(store.warmup_days, store.recipient_activity, metrics, self._place, self._tasks.start)
        self._warmup.plans = WarmupPlans(shaping, self.ready_queues.pools)
        self._claims = Claims(
            poll=settings.poll,
            store=store,
            resolver=resolver,
            ready_queues=self.ready_queues,
            active_queue=self.active_queue,
            requeue=self._requeue,
            place=self._place,
        )
        self._last_closed = 0

    # --- called by the other parts of the worker

    def configure(
        self,
        settings: QueueSettings,
        egress: EgressSettings,
        shaping: ShapingSettings,
        classifier: Classifier,
        dsn: DsnComposer,
        profiles: Profiles,
    ) -> None:
        """Take over reloaded settings; deliveries under way are not disturbed."""
        self._claims.poll = settings.poll
        self.send_windows = SendWindows(settings.send_windows, self._accounts)
        self._recorder.configure(classifier, dsn, _schedule(settings), self.send_windows)
        self._check.configure(profiles)
        self.ready_queues.configure(egress, shaping, settings.stream_weights)
        self._replies.configure(shaping)
        self._runners.tenants.configure(shaping)
        self._warmup.plans = WarmupPlans(shaping, self.ready_queues.pools)
        self.active_queue.resize(settings.active_deliveries, settings.active_size)
        for job in [job for queue in self.ready_queues.abandoned() for job in queue.take_all()]:
            self._place(job)

    def suppressions_changed(self, _: str | None = None) -> None:
        """An address was suppressed, or may have been: check the recipients again."""
        self._check.suppressions_changed()

    def queue_changed(self, _: str | None = None) -> None:
        """An operator has changed rows that may be ours: requeue what has not begun, to claim it as it is now."""
        self._requeue.add(self._take_waiting())

    def actions_changed(self) -> None:
        """Shaping actions have begun or ended: what waits here may have to wait for them, or to move."""
        known = self._store.shaping_actions.known
        actions = ActionsInForce(known)
        concerned = self.ready_queues.take_over(actions)
        self._runners.tenants.take_over(actions)
        for job in [job for queue in concerned for job in queue.take_all()]:
            self._place(job)
        for action in known:
            if action.effect is Effect.CLOSE and action.id > self._last_closed:
                self._last_closed = action.id
                self._close_idle(action.scope)
        for queue in self.ready_queues.values():
            self._runners.start(queue)

    def _close_idle(self, scope: ActionScope) -> None:
        """Close the idle connections of the paths in ``scope``."""
        for queue in self.ready_queues.values():
            source, site = queue.path.key
            if scope.covers(source, site, self.ready_queues.pools.of_source(source)):
                self._courier.close_idle(source, site)

    def end_backoffs(self, site: str | None) -> None:
        """An operator wants ``site`` to be tried now, or all sites ("")."""
        self._resolver.forget_failures()
        if site == "":
            self._courier.sources.end_backoffs()
        for queue in self.ready_queues.values():
            if site in ("", queue.path.site):
                queue.throttle.resume()
                self._runners.start(queue)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Take in fresh deliveries, leased to this worker, with their room reserved."""
        for job in jobs:
            self._place(job)

    async def run(self) -> None:
        """Claim due deliveries for as long as the worker runs. Raises StoreUnavailable."""
        await self._claims.run()

    def wake(self, _: str | None = None) -> None:
        """Claim now: another process has queued something that is due."""
        self._claims.wake()

    @property
    def claim_age(self) -> float:
        """Seconds since this worker last managed to claim what was due."""
        return self._claims.age

    def measure(self) -> None:
        """Set the gauges that only this worker knows."""
        self._metrics.claim_age.set(self.claim_age)
        self._metrics.outcomes_pending.set(self._recorder.pending)
        self._metrics.active_recipients.set(self.active_queue.deliveries)
        self._metrics.active_bytes.set(self.active_queue.octets)
        self._metrics.ready_queues.set(self.ready_queues.busy)
        self._metrics.ready_queues_in_backoff.set(self.ready_queues.in_backoff(time.monotonic()))

    async def stop(self, grace: float) -> None:
        """Requeue what waits, let running attempts end, and cancel them after ``grace`` seconds."""
        deadline = asyncio.get_running_loop().time() + grace
        self._stopping.set()
        self._claims.stop()
        self._requeue.add(self._take_waiting())
        await self._tasks.stop(grace)
        left = max(deadline - asyncio.get_running_loop().time(), STORE_PAUSE)
        # An outcome that is not committed is a message sent twice: outcomes get the grace time once more.
        await asyncio.gather(self._recorder.drain(left + grace), self._requeue.drain(left))

    def forget(self) -> None:
        """Drop the deliveries that wait, and the shares of limits: the lease was lost, and other workers have them now.

        The store will reject the outcomes of those that are under way.
        """
        self.limits.lose()
        self._courier.revoke(in_doubt=True)
        for job in self._take_waiting():
            job.release()

    async def close(self) -> None:
        """Give back the shares of limits, once the courier has closed its connections."""
        self._runners.tenants.close()
        await self.limits.stop()

    def _take_waiting(self) -> list[Job]:
        waiting = [job for queue in self.ready_queues.values() for job in queue.take_all()]
        return waiting + self._awaiting_route.pop_all() + self._warmup.pop_all()

    # --- place in a ready queue

    def _place(self, job: Job, route: Route | Reply | None = None) -> None:
        """Put a job into the ready queue of its route, which is looked up if it is not given; no error loses it, or
        those behind it."""
        try:
            if route is None:
                self._find_place(job)
            else:
                self._enter(route, job)
        except Exception:
            log.exception("delivery could not be placed", message=format_id(job.delivery.message_id))
            self._record_failure(job, INTERNAL)

    def _find_place(self, job: Job) -> None:
        if self._record_unattempted(job) or not self._window_is_open(job):
            return
        delivery = job.delivery
        route = self._resolver.cached(delivery.destination)
        if route is not None:
            self._metrics.dns[Lookup.CACHED].inc()
            self._enter(route, job)
        elif (count := self._awaiting_route.count(delivery.stream)) and count >= self.active_queue.free(
            delivery.stream
        ):
            self._requeue.add([job], NO_ROOM)
        elif self._awaiting_route.add(job):
            self._tasks.start(self._find_route(delivery.destination))

    async def _find_route(self, destination: str) -> None:
        try:
            route = await self._resolver.route(destination)
        except Exception as error:
            if short := Shortage.of(error):
                self._put_off(self._awaiting_route.pop(destination), short)
                return
            log.exception("route look-up failed", destination=destination)
            route = INTERNAL
        for job in self._awaiting_route.pop(destination):
            self._place(job, route)

    def _enter(self, route: Route | Reply, job: Job) -> None:
        if isinstance(route, Reply):
            self._record_failure(job, route)
            return
        each = job.delivery
        place = Place("", route.site, each.destination, each.account_id, each.stream, each.mailing)
        pool = self.ready_queues.pool_of(place, certified=each.certified)
        job.place = place._replace(pool=pool.name)
        provider = route.shaping.name
        if self._warmup.plans and self._warmup.must_look_up(job, pool, provider):
            return
        room = partial(self._warmup.with_room, provider=provider, job=job) if self._warmup.plans else None
        try:
            queue = self.ready_queues.choose(pool, route, time.monotonic(), job.place, room)
        except Paused as paused:
            self._requeue.pause([job], paused.action)
            return
        except NoSource as error:
            self._record_failure(job, error.reply)
            return
        except Shortage as short:
            self._put_off([job], short)
            return
        except WarmupWait as full:
            self._requeue.until_room(job, full.seconds)
            return
        if queue.accepts(job.delivery.stream, self.active_queue):
            queue.add(job)
            self._runners.start(queue)
        else:
            self._requeue.add([job], NO_ROOM)

    def _sit_out(self, jobs: Sequence[Job], backoff: float) -> None:
        """Requeue jobs of a path in backoff for ``backoff`` seconds, but not beyond what DNS has said of them."""
        waits: dict[int, list[Job]] = {}
        for job in jobs:
            wait = min(backoff, self._resolver.known_for(job.delivery.destination))
            waits.setdefault(ceil(wait), []).append(job)
        for seconds, waiting in waits.items():
            self._requeue.add(waiting, timedelta(seconds=seconds))

    # --- deliver

    async def _deliver(self, queue: ReadyQueue, job: Job, starts: Starts) -> None:
        """Take a job to its outcome; no error loses it."""
        try:
            await self._attempt(queue, job, starts)
        except StoreUnavailable:
            queue.add(job)
            await self._pause(STORE_PAUSE)
        except SourceFailed:
            for waiting in [job, *queue.take_all()]:
                self._place(waiting)
        except ContentMissing as error:
            log.error("message cannot be sent", reason=str(error))
            self._record_failure(job, UNREADABLE)
        except Exception as error:
            if short := Shortage.of(error):
                self._put_off([job], short)
                return
            log.exception("attempt failed", message=format_id(job.delivery.message_id))
            self._record_failure(job, INTERNAL)

    async def _attempt(self, queue: ReadyQueue, job: Job, starts: Starts) -> None:
        """If the job is still ours, not expired, routed here and passes the check: attempt it, and record the outcome.

        Raises StoreUnavailable, ContentMissing.
        """
        if job.delivery.lease != self._store.lease.id:  # the lease was lost meanwhile, and another worker may hold it
            job.release()
            return
        if self._record_unattempted(job) or not self._window_is_open(job):
            return
        destination = job.delivery.destination
        route = self._resolver.cached(destination) or await self._resolver.route(destination)
        if isinstance(route, Reply) or not self.ready_queues.serves(queue, route):
            self._place(job, route)
            return
        job.provider = route.provider
        content = job.delivery.content or await self._store.messages.content(job.delivery.message_id)
        if not await self._check.passes(job, content):
            return
        if not self._store.lease.valid:
            raise StoreUnavailable("the lease has run out, and is not lost yet")
        ticket = self._warmup.take(queue.path.source.name, route.shaping.name, job)
        if ticket is None:  # others have used the day's volume meanwhile
            self._place(job)
            return
        queue.began(job, time.monotonic())
        try:
            attempt = await self._courier.deliver(job.delivery, route, queue.path, content, starts)
        except (Shortage, SourceFailed):
            ticket.cancel()
            raise
        finally:
            queue.ended(job)
        if attempt.untried:
            self._requeue.add([job.split(attempt)], SHORTAGE_PAUSE)
        head = content if isinstance(content, bytes) else content.head
        decision = self._recorder.record_attempt(job, attempt, head, queue.path.limits)
        ticket.settle(decision)
        ended_at = attempt.started_at + timedelta(seconds=attempt.seconds)
        self._metrics.provider_outcomes(route.shaping.name, decision.outcomes, job.delivery.since, ended_at)
        queue.answers = not any(result.stage.is_of_site for result in attempt.results)
        self._adjust_throttle(queue, decision, route.shaping.name)
        if job.place is not None:
            place = job.place._replace(source=queue.path.source.name)
            if fired := self._replies.fired(decision, place):
                self._tasks.start(self._replies.begin(fired))

    def _put_off(self, jobs: Sequence[Job], shortage: Shortage) -> None:
        """Requeue what could not be tried for lack of something here. It is no attempt, and no failure of a site."""
        self._metrics.shortages[shortage.resource].inc(len(jobs))
        self._shortages.note(shortage.resource)
        self._requeue.add(jobs, max(SHORTAGE_PAUSE, timedelta(seconds=ceil(shortage.seconds))))

    def _adjust_throttle(self, queue: ReadyQueue, decision: Decision, provider: str) -> None:
        """Learn from the attempt about the path's health. ``provider``: as its group is counted."""
        reply = outcome.site_failure(decision)
        if reply is None:
            queue.throttle.succeeded()
        elif queue.throttle.failed(now := time.monotonic()):
            seconds = queue.throttle.backoff_left(now)
            self._events.destination_backoff(queue.path.site, queue.path.source.name, seconds, reply)
            self._metrics.backoffs.inc()
            self._metrics.provider_backoff(provider)
            self._tasks.start(self._report_backoff(queue.path.key, seconds, reply))

    async def _report_backoff(self, path: PathKey, seconds: float, reply: Reply) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._store.backoffs.note(self._store.lease.id, path.source, path.site, seconds, str(reply))

    def _record_unattempted(self, job: Job) -> bool:
        """Record the end of a job that gets no further attempt; return whether it is one."""
        decision = outcome.unattempted(job, self._recorder.schedule, datetime.now(UTC))
        if decision is not None:
            self._recorder.record(job, decision)
        elif job.delivery.held:  # claimed for its end, which our clock does not confirm
            self._requeue.add([job])
        return decision is not None or job.delivery.held

    def _window_is_open(self, job: Job) -> bool:
        """Return whether a job may be tried at this time of the day; if not, it is requeued until it may, or over."""
        opens_at = self.send_windows.opens_at(job.delivery, now := datetime.now(UTC)) if self.send_windows else None
        if opens_at is None:
            return True
        if decision := outcome.unattempted(job, self._recorder.schedule, now, closed=True):
            self._recorder.record(job, decision)
        else:
            self._requeue.until_open(job, opens_at)
        return False

    def _record_failure(self, job: Job, reply: Reply) -> None:
        """Record an attempt that failed before a receiver was contacted."""
        self._recorder.record_attempt(job, outcome.failed_attempt(job, reply, datetime.now(UTC)))

    # --- tasks

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than until it is time to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


def _schedule(settings: QueueSettings) -> Schedule:
    return Schedule(tuple(settings.retry_schedule))
