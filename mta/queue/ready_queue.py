"""Jobs that wait in memory: for a connection of their path, or for their route.

A ready queue holds the jobs of one egress path: a source, and a site (all domains that share their MX). Which of them
is next, ``fair_queue`` says.
As much may wait in one as is still free for its stream (Choudhury and Hahne, "Dynamic queue length thresholds", 1998):
however many sites stand still, there is room left for those that move. What waits in the store is claimed only as far
as the site is going to take it soon.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from enum import Enum, auto

from config.schema import PathLimits
from mta.delivery.egress.paths import EgressPath
from mta.mail.message import Stream
from mta.mail.turns import AccountWeight
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.fair_queue import FairQueue, Weights
from mta.queue.path_limits import Permits
from mta.queue.throttle import Throttle

SOON = 15.0  # seconds
UNKNOWN = 200  # deliveries claimed at once for a destination whose site is not known, or new
OVERDUE = 10.0  # seconds after which an attempt is not what a site that answers would make of it


class Standing(Enum):
    """What a worker knows of a site when connections are scarce."""

    ANSWERS = auto()
    UNKNOWN = auto()  # no attempt has ended yet
    SILENT = auto()  # the last attempt failed to get a connection, or most of those under way are overdue


class ReadyQueue:
    """``limits``: which hold now: those of the path, or lower ones for a time. ``permits``: this worker's shares of
    them. ``answers``: whether the last attempt got its dialogue, None before any. ``closed_until``: no start before.
    ``aside``: jobs that wait for something of their own, by what that is.
    """

    __slots__ = (
        "_began",
        "_resumed",
        "answers",
        "aside",
        "closed_until",
        "connections",
        "flows",
        "limits",
        "path",
        "permits",
        "throttle",
    )

    def __init__(
        self,
        path: EgressPath,
        throttle: Throttle,
        permits: Permits,
        weights: Weights,
        account_weight: AccountWeight,
    ) -> None:
        self.path, self.limits, self.throttle, self.permits = path, path.limits, throttle, permits
        permits.limit(path.limits.connections, path.limits.message_rates)
        permits.needed = self._needed
        assert permits.connections is not None
        self.connections = permits.connections
        self.flows = FairQueue(weights, account_weight)
        self.closed_until = 0.0
        self.aside: dict[Hashable, deque[Job]] = {}
        self._resumed: deque[Job] = deque()  # they were aside, and are next
        self.answers: bool | None = None
        self._began: dict[Job, float] = {}  # attempts under way, the oldest first

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return self.flows.waiting + len(self._resumed)

    @property
    def running(self) -> int:
        """How many runners it has."""
        return self.connections.running

    def limit(self, limits: PathLimits) -> None:
        """Let other limits hold."""
        self.limits = limits
        self.permits.limit(limits.connections, limits.message_rates)

    def _needed(self, now: float) -> tuple[int, int]:
        """Return for how many more runners, and for how many more starts, there is use."""
        waiting, allowed = self.waiting, self.throttle.allowed(now)
        return max(0, min(waiting, allowed - self.running)), waiting if allowed else 0

    def accepts(self, stream: Stream, active_queue: ActiveQueue) -> bool:
        """Return whether more of ``stream`` may wait here: less waits than is still free."""
        flow = self.flows[stream]
        return not flow.waiting or (
            flow.waiting < active_queue.free(stream) and flow.octets < active_queue.free_octets(stream)
        )

    def soon(self, stream: Stream) -> int:
        """Return how many jobs of ``stream`` are likely to start within SOON; never less than are running."""
        return max(int(self.flows[stream].pace * SOON), self.running, 1)

    def claimable(self, stream: Stream, active_queue: ActiveQueue, now: float) -> int:
        """Return how many more of ``stream`` there is use for, beside what waits."""
        if self.throttle.in_backoff(now) or now < self.closed_until or not self.accepts(stream, active_queue):
            return 0
        most = self.soon(stream)
        if not active_queue.is_tight(stream):
            most = max(most, self.throttle.allowed(now))
        return most - self.flows[stream].waiting

    def add(self, job: Job) -> None:
        self.flows.add(job)

    def take(self) -> Job | None:
        """Remove and return the next job."""
        return self._resumed.popleft() if self._resumed else self.flows.take()

    def set_aside(self, reason: Hashable, job: Job) -> None:
        """Let a job that was taken wait until ``resume``."""
        self.aside.setdefault(reason, deque()).append(job)

    def resume(self, reason: Hashable, most: int) -> int:
        """Let jobs that wait for ``reason`` be next, ``most`` of them at most; return how many."""
        waiting = self.aside.get(reason)
        if waiting is None:
            return 0
        number = min(most, len(waiting))
        self._resumed.extend(waiting.popleft() for _ in range(number))
        if not waiting:
            del self.aside[reason]
        return number

    def take_all(self) -> list[Job]:
        """Remove and return everything that waits."""
        jobs = [*self._resumed, *(job for waiting in self.aside.values() for job in waiting)]
        self._resumed.clear()
        self.aside.clear()
        return jobs + [job for stream in Stream for job in self.flows[stream].take_all()]

    def __iter__(self) -> Iterator[Job]:
        yield from self._resumed
        for waiting in self.aside.values():
            yield from waiting
        yield from self.flows

    def startable(self, now: float) -> int:
        """Return how many more runners may start now."""
        allowed = min(self.throttle.allowed(now), self.connections.usable)
        return min(self.waiting, allowed - self.running, self.permits.startable(now))

    def keeps(self, now: float) -> bool:
        """Return whether as many runners as there are may go on."""
        return self.running <= min(self.throttle.allowed(now), self.connections.usable)

    def began(self, job: Job, now: float) -> None:
        """Note that an attempt at ``job`` is under way, until ``ended``."""
        self._began[job] = now

    def ended(self, job: Job) -> None:
        self._began.pop(job, None)

    def standing(self, now: float) -> Standing:
        """Return whether the site answers."""
        overdue = 0
        for began in self._began.values():
            if now - began <= OVERDUE:
                break
            overdue += 1
        if self.answers is False or 2 * overdue > len(self._began):
            return Standing.SILENT
        return Standing.UNKNOWN if self.answers is None else Standing.ANSWERS

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running and not self.aside


class AwaitingRoute:
    """Jobs whose route is being looked up, by destination.

    Limitations: they are counted by stream only: one account's list of dead domains fills the room of its stream.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Job]] = {}
        self._count: Counter[Stream] = Counter()

    def count(self, stream: Stream) -> int:
        return self._count[stream]

    def add(self, job: Job) -> bool:
        """Keep a job; return whether it is the first for its destination, whose route must then be looked up."""
        self._count[job.delivery.stream] += 1
        jobs = self._waiting.setdefault(job.delivery.destination, [])
        jobs.append(job)
        return len(jobs) == 1

    def pop(self, destination: str) -> Sequence[Job]:
        """Remove and return what waits for a route to ``destination``."""
        jobs = self._waiting.pop(destination, [])
        self._count.subtract(job.delivery.stream for job in jobs)
        return jobs

    def pop_all(self) -> list[Job]:
        return [job for destination in list(self._waiting) for job in self.pop(destination)]
