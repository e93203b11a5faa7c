"""What waits for one site, and who is next.

A lane holds the deliveries for one site (all domains that share their MX). Inside, each account and mailing has a
line of its own, and the lines are served in turn: a mailing of a million does not delay another customer's password
reminder to the same provider.

``Window`` bounds what all lanes of a worker hold in memory together, in deliveries and in octets. What may wait in one
lane is as much as is still free (Choudhury and Hahne, "Dynamic queue length thresholds", 1998); and when room gets
scarce a slow lane gives up what it could not begin for a while anyhow. However many sites stand still, there is room
left for those that move.

It must never await or start anything: it says what may start.

*Limits.* The deliveries of one message share its content, but each reserves its whole size: which of them will be the
last is not known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from config.schema import Shaping
from mta.mail.delivery import Delivery
from mta.queue.throttle import Throttle

TIGHT = 1 / 8  # share of the window that is kept free at the cost of slow lanes
DESTINATIONS = 1000  # of one lane that are remembered

Flow = tuple[int, str | None]  # account, mailing


@dataclass(slots=True, eq=False)
class Lane:
    """``shaping``: where the throttle's limits come from. ``running``: how many runners it has.

    ``waiting`` and ``octets``: what is in line. ``taken``: how many were taken since somebody looked.
    ``destinations``: domains seen lately.
    """

    site: str
    shaping: Shaping
    throttle: Throttle
    running: int = 0
    waiting: int = 0
    octets: int = 0
    taken: int = 0
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
        self.octets += delivery.size

    def remember(self, destination: str) -> None:
        """``destination`` is served by this lane."""
        if len(self.destinations) >= DESTINATIONS:
            self.destinations.clear()
        self.destinations.add(destination)

    def take(self) -> Delivery | None:
        """The next delivery, one from each line in turn."""
        if not self._turns:
            return None
        flow = self._turns.popleft()
        line = self._lines[flow]
        delivery = line.popleft()
        self.waiting -= 1
        self.taken += 1
        self.octets -= delivery.size
        if line:
            self._turns.append(flow)
        else:
            del self._lines[flow]
        return delivery

    def take_all(self) -> list[Delivery]:
        """Remove and return everything that waits."""
        deliveries = list(self)
        self._lines.clear()
        self._turns.clear()
        self.waiting = self.octets = 0
        return deliveries

    def cut(self, keep: int) -> list[Delivery]:
        """Remove and return all but the ``keep`` deliveries whose turn is next."""
        taken = self.taken
        kept = [delivery for _ in range(keep) if (delivery := self.take())]
        rest = self.take_all()
        for delivery in kept:
            self.add(delivery)
        self.taken = taken
        return rest

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
    """Room in memory. A reservation is made before a delivery is taken in, and returned when it leaves, once."""

    max_deliveries: int
    max_octets: int
    deliveries: int = 0
    octets: int = 0

    def reserve(self, octets: int, deliveries: int = 1) -> bool:
        """False, and nothing reserved, if there is no room. A window without octets takes a message of any size."""
        if self.deliveries + deliveries > self.max_deliveries:
            return False
        if self.octets and self.octets + octets > self.max_octets:
            return False
        self.deliveries += deliveries
        self.octets += octets
        return True

    def release(self, octets: int, deliveries: int = 1) -> None:
        """Undo ``reserve``."""
        self.deliveries -= deliveries
        self.octets -= octets

    def enter(self, delivery: Delivery) -> bool:
        """Reserve room for ``delivery``, if there is any."""
        if not self.reserve(delivery.size):
            return False
        delivery.reserved = delivery.size
        return True

    def leave(self, delivery: Delivery) -> None:
        """Give back the room of ``delivery``, if it has any still."""
        if delivery.reserved:
            self.release(delivery.reserved)
            delivery.reserved = 0

    @property
    def free(self) -> int:
        """Deliveries that there is room for."""
        return max(0, self.max_deliveries - self.deliveries)

    @property
    def free_octets(self) -> int:
        return max(0, self.max_octets - self.octets)

    @property
    def is_tight(self) -> bool:
        """Whether room has become scarce."""
        return self.free < TIGHT * self.max_deliveries or self.free_octets < TIGHT * self.max_octets

    def has_room(self, lane: Lane, share: float = 1.0) -> bool:
        """Whether more may wait in ``lane``: while that is less than ``share`` of what is free."""
        return not lane.waiting or (lane.waiting < share * self.free and lane.octets < share * self.free_octets)
