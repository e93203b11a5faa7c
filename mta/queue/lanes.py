"""What waits for one site, and who is next.

A lane holds the deliveries for one site (all domains that share their MX). Inside, each account and mailing has a
line of its own, and the lines are served in turn: a mailing of a million does not delay another customer's password
reminder to the same provider.

``Window`` bounds what all lanes of a worker hold in memory together, in deliveries and in octets.

It must never await or start anything: it says what may start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mta.mail.delivery import Delivery
from mta.queue.throttle import Throttle

Flow = tuple[int, str | None]  # account, mailing


@dataclass(slots=True, eq=False)
class Lane:
    """``running``: deliveries being attempted at this moment. ``destinations``: the domains seen so far."""

    site: str
    throttle: Throttle
    running: int = 0
    waiting: int = 0
    destinations: set[str] = field(default_factory=set)
    _lines: dict[Flow, deque[Delivery]] = field(default_factory=dict)
    _turns: deque[Flow] = field(default_factory=deque)

    def add(self, delivery: Delivery) -> None:
        flow = (delivery.account_id, delivery.mailing)
        line = self._lines.get(flow)
        if line is None:
            line = self._lines[flow] = deque()
            self._turns.append(flow)
        line.append(delivery)
        self.waiting += 1

    def take(self) -> Delivery | None:
        """The next delivery, one from each line in turn."""
        if not self._turns:
            return None
        flow = self._turns.popleft()
        line = self._lines[flow]
        delivery = line.popleft()
        self.waiting -= 1
        if line:
            self._turns.append(flow)
        else:
            del self._lines[flow]
        return delivery

    def take_all(self, keep: Callable[[Delivery], bool] = lambda _: False) -> list[Delivery]:
        """Remove and return everything that waits, but what ``keep`` says stays."""
        deliveries = list(self)
        self._lines.clear()
        self._turns.clear()
        self.waiting = 0
        for delivery in deliveries:
            if keep(delivery):
                self.add(delivery)
        return [delivery for delivery in deliveries if not keep(delivery)]

    def __iter__(self) -> Iterator[Delivery]:
        for line in self._lines.values():
            yield from line

    def startable(self, now: float) -> int:
        """How many more deliveries may start now."""
        return min(self.waiting, self.throttle.allowed(now) - self.running)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


@dataclass(slots=True)
class Window:
    """Room in memory. A reservation is made before a delivery is taken in and returned when it is settled."""

    max_deliveries: int
    max_octets: int
    deliveries: int = 0
    octets: int = 0

    def reserve(self, octets: int, deliveries: int = 1) -> bool:
        """False, and nothing reserved, if there is no room. An empty window takes a message of any size."""
        if self.deliveries + deliveries > self.max_deliveries:
            return False
        if self.octets and self.octets + octets > self.max_octets:
            return False
        self.deliveries += deliveries
        self.octets += octets
        return True

    def release(self, octets: int, deliveries: int = 1) -> None:
        self.deliveries -= deliveries
        self.octets -= octets
