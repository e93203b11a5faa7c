"""The ready queues of this worker: one for each site, with this worker's share of what the site may get."""

from __future__ import annotations

from config.schema import Shaping, StreamWeights
from mta.delivery.route import Route
from mta.mail.message import Stream
from mta.queue.fair_queue import Weights
from mta.queue.ready_queue import ReadyQueue
from mta.queue.throttle import Throttle

IDLE_QUEUES = 10_000  # remembered; beyond that, idle ones are forgotten


class Sites(dict[str, ReadyQueue]):
    """Ready queues by site. ``workers``: how many share the limits of each. ``now`` is monotonic seconds."""

    def __init__(self, weights: StreamWeights, workers: int) -> None:
        super().__init__()
        self._workers = workers
        self._weights = _weights(weights)

    def configure(self, weights: StreamWeights) -> None:
        """Take over reloaded settings."""
        self._weights = _weights(weights)
        for queue in self.values():
            queue.flows.weights = self._weights

    def of(self, route: Route, now: float) -> ReadyQueue:
        """Return the ready queue of the route's site, with its current limits."""
        queue = self.get(route.site)
        if queue is None:
            self._forget_idle(now)
            throttle = _throttle(route.shaping, self._workers)
            queue = self[route.site] = ReadyQueue(route.site, route.shaping, throttle, self._weights)
        elif queue.shaping is not route.shaping:
            queue.shaping = route.shaping
            queue.throttle.reshape(_throttle(route.shaping, self._workers))
        return queue

    @property
    def busy(self) -> int:
        return sum(not queue.idle for queue in self.values())

    def in_backoff(self, now: float) -> int:
        return sum(queue.throttle.in_backoff(now) for queue in self.values())

    def _forget_idle(self, now: float) -> None:
        """Make room for a new ready queue, if need be; sites in backoff are forgotten last."""
        if len(self) < IDLE_QUEUES:
            return
        idle = [queue for queue in self.values() if queue.idle]
        for queue in [queue for queue in idle if not queue.throttle.in_backoff(now)] or idle:
            del self[queue.site]


def _weights(weights: StreamWeights) -> Weights:
    return {Stream.TRANSACTIONAL: weights.transactional, Stream.MARKETING: weights.marketing}


def _throttle(shaping: Shaping, workers: int) -> Throttle:
    """Return this worker's share of what the site may get in total; at least one connection."""
    return Throttle(
        ceiling=max(1, shaping.connections // workers),
        initial=max(1, min(shaping.initial_connections, shaping.connections // workers)),
        backoff=shaping.backoff,
        backoff_after=shaping.backoff_after,
        rate=shaping.message_rate / workers if shaping.message_rate else None,
    )
