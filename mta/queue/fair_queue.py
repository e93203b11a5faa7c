"""Which of the jobs that wait for the same site is next: by weight between streams, in turn inside.

A ``FairQueue`` holds jobs in three levels. Between the streams the choice is by stride scheduling (Waldspurger and
Weihl, 1995): each start moves a stream on by one over its weight, and the stream that is furthest behind is next. So
where both wait, starts divide as the weights do over any stretch of time, and neither waits for more than a few starts
of the other. Inside a stream accounts take turns, and inside an account its mailings: a mailing of a million delays
neither another account's mail nor the same account's other mailings.

Invariants: turns are not saved up: a stream that had nothing waiting begins where the others are.
Limitations: starts are shared, not octets or seconds: a stream of slow, large messages keeps connections for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mta.mail.message import Stream
from mta.queue.active_queue import Job

Key = TypeVar("Key", bound=Hashable)
Weights = Mapping[Stream, int]  # of each stream, 1 or more


@dataclass(slots=True)
class RoundRobin(Generic[Key]):
    """Keys that are served in turn, for as long as they have something waiting."""

    _order: deque[Key] = field(default_factory=deque)
    _jobs: dict[Key, deque[Job]] = field(default_factory=dict)

    def add(self, key: Key, job: Job) -> None:
        jobs = self._jobs.get(key)
        if jobs is None:
            jobs = self._jobs[key] = deque()
            self._order.append(key)
        jobs.append(job)

    def take(self) -> Job:
        """Remove and return the next job. There must be one."""
        key = self._order.popleft()
        jobs = self._jobs[key]
        job = jobs.popleft()
        if jobs:
            self._order.append(key)
        else:
            del self._jobs[key]
        return job

    def __bool__(self) -> bool:
        return bool(self._order)

    def __iter__(self) -> Iterator[Job]:
        for jobs in self._jobs.values():
            yield from jobs


@dataclass(slots=True)
class Flow:
    """What waits in one stream. ``taken``: how many jobs were so far; ``pace``: how many a second, as last measured.

    ``passed``: how far the stream has come; it grows by one over the weight with each job taken.
    """

    waiting: int = 0
    octets: int = 0
    taken: int = 0
    pace: float = 0.0
    passed: float = 0.0
    _measured: int = 0  # of ``taken``
    _order: deque[int] = field(default_factory=deque)
    _accounts: dict[int, RoundRobin[str | None]] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        delivery = job.delivery
        mailings = self._accounts.get(delivery.account_id)
        if mailings is None:
            mailings = self._accounts[delivery.account_id] = RoundRobin()
            self._order.append(delivery.account_id)
        mailings.add(delivery.mailing, job)
        self.waiting += 1
        self.octets += delivery.size

    def take(self) -> Job:
        """Remove and return the next job: accounts in turn, within each its mailings. There must be one."""
        account = self._order.popleft()
        mailings = self._accounts[account]
        job = mailings.take()
        if mailings:
            self._order.append(account)
        else:
            del self._accounts[account]
        self.waiting -= 1
        self.octets -= job.delivery.size
        self.taken += 1
        return job

    def take_all(self) -> list[Job]:
        """Remove and return everything that waits."""
        jobs = list(self)
        self._order.clear()
        self._accounts.clear()
        self.waiting = self.octets = 0
        return jobs

    def cut(self, keep: int) -> list[Job]:
        """Remove and return all but the ``keep`` jobs whose turn is next."""
        taken = self.taken
        kept = [self.take() for _ in range(min(keep, self.waiting))]
        removed = self.take_all()
        for job in kept:
            self.add(job)
        self.taken = taken
        return removed

    def measure(self, seconds: float) -> None:
        """Update the pace; ``seconds``: since the last time. A pause of a moment does not make it zero."""
        self.pace = max((self.taken - self._measured) / seconds, self.pace / 2)
        self._measured = self.taken

    def __iter__(self) -> Iterator[Job]:
        for mailings in self._accounts.values():
            yield from mailings


class FairQueue:
    """One flow for each stream. ``weights`` may be replaced at any time."""

    __slots__ = ("_all", "_flows", "_now", "weights")

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._flows = {stream: Flow() for stream in Stream}
        self._all = tuple(self._flows.items())
        self._now = 0.0  # how far the stream served last had come

    def __getitem__(self, stream: Stream) -> Flow:
        return self._flows[stream]

    def __iter__(self) -> Iterator[Job]:
        for flow in self._flows.values():
            yield from flow

    @property
    def waiting(self) -> int:
        waiting = 0
        for _, flow in self._all:
            waiting += flow.waiting
        return waiting

    def add(self, job: Job) -> None:
        flow = self._flows[job.delivery.stream]
        if not flow.waiting:
            flow.passed = max(flow.passed, self._now)
        flow.add(job)

    def take(self) -> Job | None:
        """Remove and return the next job of the stream that is furthest behind; at a tie, of the heavier one."""
        first, rank, weight = None, (0.0, 0), 1
        for stream, flow in self._all:
            if flow.waiting:
                weighs = self.weights[stream]
                if first is None or (flow.passed, -weighs) < rank:
                    first, rank, weight = flow, (flow.passed, -weighs), weighs
        if first is None:
            return None
        self._now = first.passed
        first.passed += 1 / weight
        return first.take()
