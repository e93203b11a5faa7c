"""Which of the jobs that wait for the same site is next: by weight between streams, in turn inside.

A ``FairQueue`` holds jobs in three levels. Between the streams the choice is by stride scheduling (Waldspurger and
Weihl, 1995): each start moves a stream on by one over its weight, and the stream that is furthest behind is next. So
where both wait, starts divide as the weights do over any stretch of time, and neither waits for more than a few starts
of the other. Inside a stream accounts are served by their weights in the same way, and inside an account its mailings:
a mailing of a million delays neither another account's mail nor the same account's other mailings. A priority (RFC
6710) is a weight there: it brings a message before others of its account, and never before another account's.

Invariants: turns are not saved up: a stream that had nothing waiting begins where the others are.
Limitations: starts are shared, not octets or seconds: a stream of slow, large messages keeps connections for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from typing import Generic, TypeVar

from mta.mail.message import Stream
from mta.mail.turns import PRIORITY_WEIGHTS, AccountWeight
from mta.queue.active_queue import Job

Key = TypeVar("Key", bound=Hashable)
Child = TypeVar("Child")
Weights = Mapping[Stream, int]  # of each stream, 1 or more
MailingTurn = tuple[str | None, int]  # what takes turns inside an account: a mailing's messages of one priority


class Shares(Generic[Key, Child]):
    """Queues that are served by weight. One that comes begins as if it had just been served: nothing is saved up."""

    __slots__ = ("_children", "_entered", "_make", "_now", "_order")

    def __init__(self, make: Callable[[], Child]) -> None:
        self._make = make
        self._children: dict[Key, Child] = {}
        self._order: list[tuple[float, int, Key]] = []  # a heap: how far each has come, and when it got there
        self._entered = 0
        self._now = 0.0  # how far the one served last had come

    def of(self, key: Key, weight: float) -> Child:
        """Return the queue of ``key``; it must get a job if it is empty."""
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._make()
            self._entered += 1
            heappush(self._order, (self._now + 1 / weight, self._entered, key))
        return child

    def first(self) -> tuple[Key, Child]:
        """Return the queue whose turn it is, and its key. There must be one."""
        key = self._order[0][2]
        return key, self._children[key]

    def served(self, weight: float) -> None:
        """Note that a job of the first queue was taken; ``weight``: its own."""
        self._now, _, key = self._order[0]
        if self._children[key]:
            self._entered += 1
            heapreplace(self._order, (self._now + 1 / weight, self._entered, key))
        else:
            heappop(self._order)
            del self._children[key]

    def clear(self) -> None:
        self._order.clear()
        self._children.clear()

    def __bool__(self) -> bool:
        return bool(self._order)

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children.values())


_Mailings = Shares[MailingTurn, deque[Job]]


def _no_mailings() -> _Mailings:
    return Shares(deque)


@dataclass(slots=True)
class Flow:
    """What waits in one stream. ``account_weight``: of an account by its id. ``taken``: how many jobs were so far;
    ``pace``: how many a second, as last measured.

    ``passed``: how far the stream has come; it grows by one over the weight with each job taken.
    """

    account_weight: AccountWeight
    waiting: int = 0
    octets: int = 0
    taken: int = 0
    pace: float = 0.0
    passed: float = 0.0
    _measured: int = 0  # of ``taken``
    _accounts: Shares[int, _Mailings] = field(default_factory=lambda: Shares(_no_mailings))

    def add(self, job: Job) -> None:
        delivery = job.delivery
        mailings = self._accounts.of(delivery.account_id, self.account_weight(delivery.account_id))
        turn = delivery.mailing, delivery.priority
        mailings.of(turn, PRIORITY_WEIGHTS[delivery.priority]).append(job)
        self.waiting += 1
        self.octets += delivery.size

    def take(self) -> Job:
        """Remove and return the next job: of the account whose turn it is, of its mailing whose turn it is. There must
        be one."""
        account, mailings = self._accounts.first()
        (_, priority), jobs = mailings.first()
        job = jobs.popleft()
        mailings.served(PRIORITY_WEIGHTS[priority])
        self._accounts.served(self.account_weight(account))
        self.waiting -= 1
        self.octets -= job.delivery.size
        self.taken += 1
        return job

    def take_all(self) -> list[Job]:
        """Remove and return everything that waits."""
        jobs = list(self)
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
        for mailings in self._accounts:
            for jobs in mailings:
                yield from jobs


class FairQueue:
    """One flow for each stream. ``weights`` may be replaced at any time; ``account_weight`` is asked each time."""

    __slots__ = ("_all", "_flows", "_now", "weights")

    def __init__(self, weights: Weights, account_weight: AccountWeight) -> None:
        self.weights = weights
        self._flows = {stream: Flow(account_weight) for stream in Stream}
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
