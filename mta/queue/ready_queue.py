"""What waits for one site, and how much may wait in memory.

A lane holds the deliveries for one site (all domains that share their MX); who is next among them is for
``mta.queue.fair_queue`` to say.

``ActiveQueue`` bounds what all lanes of a worker hold in memory together, in deliveries and in octets. A part of it
is kept
for each stream, whatever the other one brings. What may wait in one lane is as much as is still free for its stream
(Choudhury and Hahne, "Dynamic queue length thresholds", 1998); and when room gets scarce a slow lane gives up what it
could not begin for a while anyhow. However many sites stand still, there is room left for those that move.

It must never await or start anything: it says what may start.

*Limits.* The deliveries of one message share its content, but each reserves its whole size: which of them will be the
last is not known.
"""

from __future__ import annotations

from collections.abc import Iterator

from config.schema import Shaping
from mta.mail.delivery import Delivery
from mta.mail.message import Stream
from mta.queue.fair_queue import FairQueue, Flow, Weights
from mta.queue.throttle import Throttle

TIGHT = 1 / 8  # share of the window that is kept free at the cost of slow lanes
KEPT = 1 / 8  # share of the window that is kept for each stream
DESTINATIONS = 1000  # of one lane that are remembered


class ReadyQueue:
    """``shaping``: where the throttle's limits come from. ``running``: how many runners it has.

    ``destinations``: domains seen lately.
    """

    __slots__ = ("destinations", "lines", "running", "shaping", "site", "throttle")

    def __init__(self, site: str, shaping: Shaping, throttle: Throttle, weights: Weights) -> None:
        self.site, self.shaping, self.throttle = site, shaping, throttle
        self.lines = FairQueue(weights)
        self.running = 0
        self.destinations: set[str] = set()

    @property
    def waiting(self) -> int:
        return self.lines.waiting

    @property
    def taken(self) -> int:
        """How many were taken since somebody looked."""
        return sum(self.lines[stream].taken for stream in Stream)

    def add(self, delivery: Delivery) -> None:
        self.lines.add(delivery)

    def remember(self, destination: str) -> None:
        """``destination`` is served by this lane."""
        if len(self.destinations) >= DESTINATIONS:
            self.destinations.clear()
        self.destinations.add(destination)

    def take(self) -> Delivery | None:
        """The next delivery."""
        return self.lines.take()

    def take_all(self) -> list[Delivery]:
        """Remove and return everything that waits."""
        return [delivery for stream in Stream for delivery in self.lines[stream].take_all()]

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self.lines)

    def startable(self, now: float) -> int:
        """How many more deliveries may start now."""
        return min(self.waiting, self.throttle.allowed(now) - self.running)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


class StreamBudget:
    """So many of something, shared by the streams. ``total``: how many are used."""

    __slots__ = ("most", "total", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self.used = dict.fromkeys(Stream, 0)

    def add(self, number: int, stream: Stream) -> None:
        self.total += number
        self.used[stream] += number

    def free(self, stream: Stream) -> int:
        """What ``stream`` may still use: what nobody uses, less what is kept for the others; and in any case what is
        left of its own keep."""
        kept = int(KEPT * self.most)
        free = self.most - self.total
        for each, used in self.used.items():
            if used < kept and each is not stream:
                free -= kept - used
        return max(0, free, kept - self.used[stream])


class ActiveQueue:
    """Room in memory. A reservation is made before a delivery is taken in, and returned when it leaves, once."""

    __slots__ = ("_deliveries", "_octets")

    def __init__(self, max_deliveries: int, max_octets: int) -> None:
        self._deliveries, self._octets = StreamBudget(max_deliveries), StreamBudget(max_octets)

    def resize(self, max_deliveries: int, max_octets: int) -> None:
        self._deliveries.most, self._octets.most = max_deliveries, max_octets

    @property
    def deliveries(self) -> int:
        return self._deliveries.total

    @property
    def octets(self) -> int:
        return self._octets.total

    def reserve(self, octets: int, deliveries: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> bool:
        """False, and nothing reserved, if there is no room. A stream without octets takes a message of any size."""
        if deliveries > self._deliveries.free(stream):
            return False
        if self._octets.used[stream] and octets > self._octets.free(stream):
            return False
        self._deliveries.add(deliveries, stream)
        self._octets.add(octets, stream)
        return True

    def release(self, octets: int, deliveries: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> None:
        """Undo ``reserve``."""
        self._deliveries.add(-deliveries, stream)
        self._octets.add(-octets, stream)

    def enter(self, delivery: Delivery) -> bool:
        """Reserve room for ``delivery``, if there is any."""
        if not self.reserve(delivery.size, 1, delivery.stream):
            return False
        delivery.reserved = delivery.size
        return True

    def leave(self, delivery: Delivery) -> None:
        """Give back the room of ``delivery``, if it has any still."""
        if delivery.reserved:
            self.release(delivery.reserved, 1, delivery.stream)
            delivery.reserved = 0

    def free(self, stream: Stream) -> int:
        """Deliveries of ``stream`` that there is room for."""
        return self._deliveries.free(stream)

    def free_octets(self, stream: Stream) -> int:
        return self._octets.free(stream)

    def is_tight(self, stream: Stream) -> bool:
        """Whether room for ``stream`` has become scarce."""
        rooms = (self._deliveries, self._octets)
        return any(room.free(stream) < TIGHT * room.most for room in rooms)

    def has_room(self, line: Flow, stream: Stream, share: float = 1.0) -> bool:
        """Whether more of ``stream`` may wait in ``line``: while that is less than ``share`` of what is free."""
        return not line.waiting or (
            line.waiting < share * self.free(stream) and line.octets < share * self.free_octets(stream)
        )
