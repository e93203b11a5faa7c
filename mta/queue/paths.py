"""The ready queues of this worker, one for each egress path, and which of them mail takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from config.schema import EgressSettings, PathLimits, ShapingSettings, StreamWeights
from mta.delivery.egress.actions import ActionsInForce
from mta.delivery.egress.paths import EgressPath, PathKey, PathShaping
from mta.delivery.egress.pools import PoolQuery, SourcePool, SourcePools
from mta.delivery.egress.sources import EgressSource, SourceHealth
from mta.delivery.route import Route
from mta.delivery.shortage import Shortage
from mta.mail.message import Stream
from mta.mail.reply import Reply
from mta.mail.shaping_action import Place, ShapingAction
from mta.observe.labels import Resource
from mta.queue.active_queue import ActiveQueue
from mta.queue.dsn import AccountLookup
from mta.queue.fair_queue import Weights
from mta.queue.path_limits import Permits
from mta.queue.ready_queue import UNKNOWN, ReadyQueue
from mta.queue.throttle import Throttle
from mta.store.queue.egress_limits import path_scope
from policy.accounts.account import DEFAULT_WEIGHT

IDLE_QUEUES = 10_000  # remembered; beyond that, idle ones are forgotten


Room = Callable[[Sequence[EgressSource]], list[EgressSource]]  # those that have room for a delivery


class NoSource(Exception):
    """No source of the pool has an address of a family that the site has. ``reply``: what the mail gets to hear."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Paused(Exception):
    """Mail must wait for a shaping action."""

    def __init__(self, action: ShapingAction) -> None:
        super().__init__(f"shaping action {action.id}")
        self.action = action


class Paths(dict[PathKey, ReadyQueue]):
    """Ready queues by path. ``now`` is monotonic seconds."""

    def __init__(
        self,
        egress: EgressSettings,
        shaping: ShapingSettings,
        weights: StreamWeights,
        health: SourceHealth,
        accounts: AccountLookup,
        permits: Callable[[str], Permits],
        changed: Callable[[ReadyQueue], None],
    ) -> None:
        """``permits``: returns those of a scope. ``changed``: called when those of a ready queue allow more or less."""
        super().__init__()
        self._changed = changed
        self._look_at = IDLE_QUEUES  # number of ready queues at which idle ones are looked for
        self.actions = ActionsInForce()
        self._health, self._accounts, self._permits = health, accounts, permits
        self.configure(egress, shaping, weights)

    def account_weight(self, account_id: int) -> float:
        """Return the share of an account's mail beside others'."""
        account = self._accounts.by_id(account_id)
        return account.weight if account else DEFAULT_WEIGHT

    def configure(self, egress: EgressSettings, shaping: ShapingSettings, weights: StreamWeights) -> None:
        """Take over reloaded settings. What waits for a source that is gone is to be placed again: ``abandoned``."""
        self.pools = SourcePools(egress)
        self._sources = {source.name: source for source in self.pools.sources}
        self._shaping = PathShaping(shaping, self.pools)
        self._weights = _weights(weights)
        for queue in self.values():
            queue.flows.weights = self._weights

    def take_over(self, actions: ActionsInForce) -> Sequence[ReadyQueue]:
        """Let other actions be in force; return the ready queues with mail that may have to wait, or to move."""
        self.actions, today = actions, datetime.now(UTC)
        concerned = []
        for queue in self.values():
            self._reshape(queue)
            source, site = queue.path.key
            if actions.is_paused(source, site, self.pools.of_source(source), today):
                queue.throttle.restart()
            if actions.moves or actions.may_pause(source, site, today):
                concerned.append(queue)
        return concerned

    def claimable(self, site: str, pool: SourcePool, stream: Stream, active_queue: ActiveQueue, now: float) -> int:
        """Return how many more of ``stream`` there is use for, to ``site`` from the sources of ``pool``."""
        claimable = 0
        for source in pool.sources:
            queue = self.get(PathKey(source.name, site))
            if queue is not None:
                claimable += queue.claimable(stream, active_queue, now)
            elif self._health.usable(source, now):
                claimable += UNKNOWN
        return claimable

    def pool_of(self, mail: Place, *, certified: bool) -> SourcePool:
        """Return the pool that mail leaves from, which is still to be chosen in its ``Place``."""
        if not self.pools.has_choice:
            return self.pools.default
        account = self._accounts.by_id(mail.account_id)
        query = PoolQuery(
            account=account.name if account else None,
            profile=account.profile if account else None,
            stream=mail.stream,
            mailing=mail.mailing,
            domain=mail.domain,
            own=account.pool if account else None,
            certified=certified,
        )
        pool = self.pools.of(query)
        moves = self.actions.moves
        if moves and (name := self.actions.pool_of(mail._replace(pool=pool.name), datetime.now(UTC))):
            return self.pools.permitted(name, query) or pool
        return pool

    def choose(self, pool: SourcePool, route: Route, now: float, place: Place, room: Room | None = None) -> ReadyQueue:
        """Return the ready queue of the source whose turn it is, with its current limits.

        Sources that are on a blocklist, or that the site has turned away, are passed over as long as others are left.
        ``place``: where the mail stands. ``room``: leaves out sources that warm up and have sent their share. Raises
        Shortage if no source of the pool works, Paused, NoSource, and what ``room`` raises.
        """
        return self._of(pool.turn(self._able(pool, route, now, place, room)), route, now)

    def serves(self, queue: ReadyQueue, route: Route) -> bool:
        """Return whether a route is (still) one for this ready queue."""
        source = queue.path.source
        return (
            route.site == queue.path.site
            and self._sources.get(source.name) == source
            and any(source.reaches(host.address) for host in route.hosts)
        )

    def abandoned(self) -> Iterator[ReadyQueue]:
        """Yield the ready queues whose source is not what the configuration says any more."""
        for queue in self.values():
            if self._sources.get(queue.path.source.name) != queue.path.source:
                yield queue

    @property
    def busy(self) -> int:
        return sum(not queue.idle for queue in self.values())

    def in_backoff(self, now: float) -> int:
        return sum(queue.throttle.in_backoff(now) for queue in self.values())

    def _able(
        self, pool: SourcePool, route: Route, now: float, place: Place, room: Room | None
    ) -> Sequence[EgressSource]:
        fitting = [source for source in pool.sources if any(source.reaches(host.address) for host in route.hosts)]
        if not fitting:
            raise NoSource(Reply(451, "4.4.4", f"pool {pool.name} has no source for the addresses of {route.site}"))
        working = [source for source in fitting if self._health.usable(source, now)]
        if not working:
            raise Shortage(Resource.SOURCES, self._health.usable_in(fitting, now))
        if self.actions.pauses:
            working = self._unpaused(working, place)
        if room is not None:
            working = room(working)
        if len(working) == 1:
            return working
        welcome = [source for source in working if not self._turned_away(source, route.site, now)]
        unlisted = [source for source in welcome or working if not self._health.steps_aside(source)]
        return unlisted or welcome or working

    def _unpaused(self, sources: Sequence[EgressSource], place: Place) -> list[EgressSource]:
        """Return the sources that may send now. Raises Paused with the pause that ends first if there is none."""
        today = datetime.now(UTC)
        found = [(source, self.actions.pause(place._replace(source=source.name), today)) for source in sources]
        free = [source for source, pause in found if pause is None]
        if not free:
            pauses = [pause for _, pause in found if pause is not None]
            raise Paused(min(pauses, key=lambda each: each.expires_at))
        return free

    def _turned_away(self, source: EgressSource, site: str, now: float) -> bool:
        queue = self.get(PathKey(source.name, site))
        return queue is not None and queue.throttle.in_backoff(now)

    def _of(self, source: EgressSource, route: Route, now: float) -> ReadyQueue:
        limits = self._shaping.limits(source, route.shaping)
        key = PathKey(source.name, route.site)
        queue = self.get(key)
        if queue is None:
            self._forget_idle(now)
            permits = self._permits(path_scope(source.name, route.site))
            path = EgressPath(source, route.site, limits, permits.slots, route.shaping.name)
            queue = self[key] = ReadyQueue(path, _throttle(limits), permits, self._weights, self.account_weight)
            permits.changed = partial(self._changed, queue)
            pools = self.pools.of_source(source.name)
            if self.actions.is_recovering(source.name, route.site, pools, datetime.now(UTC)):
                queue.throttle.restart()
        elif queue.path.limits is not limits or queue.path.source != source:
            queue.path = EgressPath(source, route.site, limits, queue.path.slots, route.shaping.name)
        self._reshape(queue)
        return queue

    def _reshape(self, queue: ReadyQueue) -> None:
        """Let the throttle keep the limits of the path, or what the actions in force leave of them."""
        source, site = queue.path.key
        limits = self.actions.limits(source, site, self.pools.of_source(source), queue.path.limits, datetime.now(UTC))
        if queue.limits is not limits:
            queue.limit(limits)
            queue.throttle.reshape(_throttle(limits))
            self._changed(queue)

    def _forget_idle(self, now: float) -> None:
        """Make room for a new ready queue, if need be; paths in backoff are forgotten last.

        While most are busy it looks again only when there are a quarter more: each look passes all of them.
        """
        if len(self) < self._look_at:
            return
        idle = [queue for queue in self.values() if queue.idle]
        for queue in [queue for queue in idle if not queue.throttle.in_backoff(now)] or idle:
            del self[queue.path.key]
        self._look_at = max(IDLE_QUEUES, len(self) + len(self) // 4)


def _weights(weights: StreamWeights) -> Weights:
    return {Stream.TRANSACTIONAL: weights.transactional, Stream.MARKETING: weights.marketing}


def _throttle(limits: PathLimits) -> Throttle:
    return Throttle(
        ceiling=limits.connections,
        initial=min(limits.initial_connections, limits.connections),
        backoff=limits.backoff,
        backoff_after=limits.backoff_after,
    )
