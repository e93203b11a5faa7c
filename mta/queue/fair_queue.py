"""Who is next among those who wait for the same thing: by weight between streams, in turn inside.

A ``FairQueue`` holds deliveries in three levels. Between the streams the choice is by stride scheduling (Waldspurger
and
Weihl, 1995): each start moves a stream on by one over its weight, and the stream that is furthest behind is next. So
where both wait, starts divide as the weights do over any stretch of time, and neither waits for more than a few starts
of the other. Inside a stream accounts take turns, and inside an account its mailings: a mailing of a million delays
neither another customer's mail nor the same customer's other mailing.

It must never save up turns: a stream that had nothing waiting begins where the others are.

*Limits.* Starts are shared, not octets or seconds: a stream of slow, large messages keeps connections for longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mta.mail.delivery import Delivery
from mta.mail.message import Stream

Key = TypeVar("Key", bound=Hashable)
Weights = Mapping[Stream, int]  # of each stream, 1 or more


@dataclass(slots=True)
class RoundRobin(Generic[Key]):
    """Keys that are served in turn, for as long as they have something waiting."""

    _order: deque[Key] = field(default_factory=deque)
    _lines: dict[Key, deque[Delivery]] = field(default_factory=dict)

    def add(self, key: Key, delivery: Delivery) -> None:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = deque()
            self._order.append(key)
        line.append(delivery)

    def take(self) -> Delivery:
        """The next delivery. There is one."""
        key = self._order.popleft()
        line = self._lines[key]
        delivery = line.popleft()
        if line:
            self._order.append(key)
        else:
            del self._lines[key]
        return delivery

    def __bool__(self) -> bool:
        return bool(self._order)

    def __iter__(self) -> Iterator[Delivery]:
        for line in self._lines.values():
            yield from line


@dataclass(slots=True)
class Flow:
    """What waits in one stream. ``taken``: how many were taken since somebody looked.

    ``passed``: how far the stream has come; it grows by one over the weight with each delivery taken.
    """

    waiting: int = 0
    octets: int = 0
    taken: int = 0
    passed: float = 0.0
    _order: deque[int] = field(default_factory=deque)
    _accounts: dict[int, RoundRobin[str | None]] = field(default_factory=dict)

    def add(self, delivery: Delivery) -> None:
        mailings = self._accounts.get(delivery.account_id)
        if mailings is None:
            mailings = self._accounts[delivery.account_id] = RoundRobin()
            self._order.append(delivery.account_id)
        mailings.add(delivery.mailing, delivery)
        self.waiting += 1
        self.octets += delivery.size

    def take(self) -> Delivery:
        """The next delivery: accounts in turn, within each its mailings. There is one."""
        account = self._order.popleft()
        mailings = self._accounts[account]
        delivery = mailings.take()
        if mailings:
            self._order.append(account)
        else:
            del self._accounts[account]
        self.waiting -= 1
        self.octets -= delivery.size
        self.taken += 1
        return delivery

    def take_all(self) -> list[Delivery]:
        """Remove and return everything that waits."""
        deliveries = list(self)
        self._order.clear()
        self._accounts.clear()
        self.waiting = self.octets = 0
        return deliveries

    def cut(self, keep: int) -> list[Delivery]:
        """Remove and return all but the ``keep`` deliveries whose turn is next."""
        taken = self.taken
        kept = [self.take() for _ in range(min(keep, self.waiting))]
        rest = self.take_all()
        for delivery in kept:
            self.add(delivery)
        self.taken = taken
        return rest

    def __iter__(self) -> Iterator[Delivery]:
        for mailings in self._accounts.values():
            yield from mailings


class FairQueue:
    """One line for each stream. ``weights`` may be replaced at any time."""

    __slots__ = ("_all", "_lines", "_now", "weights")

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._lines = {stream: Flow() for stream in Stream}
        self._all = tuple(self._lines.items())
        self._now = 0.0  # how far the stream had come that was served last

    def __getitem__(self, stream: Stream) -> Flow:
        return self._lines[stream]

    def __iter__(self) -> Iterator[Delivery]:
        for line in self._lines.values():
            yield from line

    @property
    def waiting(self) -> int:
        waiting = 0
        for _, line in self._all:
            waiting += line.waiting
        return waiting

    def add(self, delivery: Delivery) -> None:
        line = self._lines[delivery.stream]
        if not line.waiting:
            line.passed = max(line.passed, self._now)
        line.add(delivery)

    def take(self) -> Delivery | None:
        """The next delivery of the stream that is furthest behind; at a tie, of the one that weighs more."""
        first, rank, weight = None, (0.0, 0), 1
        for stream, line in self._all:
            if line.waiting:
                weighs = self.weights[stream]
                if first is None or (line.passed, -weighs) < rank:
                    first, rank, weight = line, (line.passed, -weighs), weighs
        if first is None:
            return None
        self._now = first.passed
        first.passed += 1 / weight
        return first.take()
