"""Claims what is due in the store, as far as there is use for it, and gives back what has no room.

As much of a site's mail is claimed as the site is going to take soon; the rest stays in the store, where any worker may
claim it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.mail.delivery import DueDelivery
from mta.mail.large_body import LARGE
from mta.mail.message import Stream
from mta.mail.shaping_action import Place
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.paths import Paths
from mta.queue.ready_queue import UNKNOWN
from mta.queue.requeue import NO_ROOM, Requeue
from mta.store.store import Store

CLAIM = 500  # deliveries of one stream claimed at once
EVICT_EVERY = 1.0  # seconds, at least, between looks at how fast ready queues move


class ClaimRoom:
    """How much of what is due there is use for, as ``wanted`` says of one delivery after the other.

    ``place``: returns the site and the pool that a delivery would wait for, None if the site must be looked up. It is
    asked each time: a domain that has moved does not wait for the site that it has left. ``claimable``: returns how
    many more may wait there.
    """

    def __init__(
        self,
        place: Callable[[DueDelivery], tuple[str, str] | None],
        claimable: Callable[[tuple[str, str]], int],
    ) -> None:
        self._place, self._claimable = place, claimable
        self._left: dict[tuple[str, str] | str, int] = {}  # by destination where no place is known

    def wanted(self, due: DueDelivery) -> bool:
        """Return whether there is use for one more delivery, which then counts as claimed."""
        place = self._place(due)
        key = due.destination if place is None else place
        left = self._left.get(key)
        if left is None:
            left = UNKNOWN if place is None else self._claimable(place)
        self._left[key] = left - 1
        return left > 0


class Claims:
    """``poll``: seconds between looks at the store. ``place``: takes in what was claimed."""

    def __init__(
        self,
        *,
        poll: float,
        store: Store,
        resolver: Resolver,
        ready_queues: Paths,
        active_queue: ActiveQueue,
        requeue: Requeue,
        place: Callable[[Job], None],
    ) -> None:
        self.poll = poll
        self._store, self._resolver, self._ready_queues = store, resolver, ready_queues
        self._active_queue, self._requeue, self._place = active_queue, requeue, place
        self._evicted_at = self._claimed_at = monotonic()
        self._due = asyncio.Event()
        self._stopped = False

    async def run(self) -> None:
        """Claim due deliveries until ``stop``. Raises StoreUnavailable."""
        while not self._stopped:
            self._evict()
            claimed = [await self._claim(stream) for stream in Stream]
            self._claimed_at = monotonic()
            if CLAIM not in claimed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.poll):
                        await self._due.wait()
            self._due.clear()

    def wake(self) -> None:
        """Claim now: another process has queued something that is due."""
        self._due.set()

    def stop(self) -> None:
        """Claim no more."""
        self._stopped = True
        self._due.set()

    @property
    def age(self) -> float:
        """Seconds since this worker last managed to claim what was due."""
        return monotonic() - self._claimed_at

    async def _claim(self, stream: Stream) -> int:
        """Claim what there is room for; one stream's backlog does not keep the other from being claimed."""
        deliveries, octets = self._active_queue.free(stream), self._active_queue.free_octets(stream)
        if not (deliveries and octets):
            return 0
        now, ready_queues = monotonic(), self._ready_queues

        def claimable(place: tuple[str, str]) -> int:
            site, pool = place
            return ready_queues.claimable(site, ready_queues.pools[pool], stream, self._active_queue, now)

        room = ClaimRoom(partial(self._place_of, stream), claimable)
        claimed = await self._store.messages.claim(
            deliveries=min(deliveries, CLAIM),
            octets=octets,
            wanted=room.wanted,
            stream=stream,
            expiry=self._store.clock.fault is None,
            account_weight=ready_queues.account_weight,
        )
        placed = 0
        for delivery in claimed:
            reservation = self._active_queue.reserve(min(delivery.size, LARGE), stream)
            if reservation:
                self._place(Job(delivery, reservation))
                placed += 1
            else:
                self._requeue.add([Job(delivery, None)])
        return placed

    def _place_of(self, stream: Stream, due: DueDelivery) -> tuple[str, str] | None:
        """Return the site and the pool of a delivery that is due, if its route is known.

        Whether it may use certified sources is not known before it is claimed: it is taken for granted.
        """
        route = self._resolver.cached(due.destination)
        if not isinstance(route, Route):
            return None
        mail = Place("", route.site, due.destination, due.account_id, stream, due.mailing)
        return route.site, self._ready_queues.pool_of(mail, certified=True).name

    def _evict(self) -> None:
        """When room is scarce, requeue what ready queues would not begin within the time for which it is put off."""
        elapsed = monotonic() - self._evicted_at
        if elapsed < EVICT_EVERY:
            return
        self._evicted_at += elapsed
        for queue in self._ready_queues.values():
            for stream in Stream:
                flow = queue.flows[stream]
                flow.measure(elapsed)
                if flow.waiting and self._active_queue.is_tight(stream):
                    self._requeue.add(flow.cut(queue.soon(stream)), NO_ROOM)
