"""What waits for one site, and how much may wait in memory.

A lane holds the deliveries for one site (all domains that share their MX); who is next among them is for
``mta.queue.lines`` to say.

``Window`` bounds what all lanes of a worker hold in memory together, in deliveries and in octets. A part of it is kept
for each stream, whatever the other one brings. What may wait in one lane is as much as is still free for its stream
(Choudhury and Hahne, "Dynamic queue length thresholds", 1998); and when room gets scarce a slow lane gives up what it
could not begin for a while anyhow. However many sites stand still, there is room left for those that move.

It must never await or start anything: it says what may start.

*Limits.* The deliveries of one message share its content, but each reserves its whole size: which of them will be the
last is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from config.schema import Shaping
from mta.mail.delivery import Delivery
from mta.mail.message import Stream
from mta.queue.lines import Line, Lines, Weights
from mta.queue.throttle import Throttle

TIGHT = 1 / 8  # share of the window that is kept free at the cost of slow lanes
KEPT = 1 / 8  # share of the window that is kept for each stream
DESTINATIONS = 1000  # of one lane that are remembered


class Lane:
    """``shaping``: where the throttle's limits come from. ``running``: how many runners it has.

    ``destinations``: domains seen lately.
    """

    __slots__ = ("destinations", "lines", "running", "shaping", "site", "throttle")

    def __init__(self, site: str, shaping: Shaping, throttle: Throttle, weights: Weights) -> None:
        self.site, self.shaping, self.throttle = site, shaping, throttle
        self.lines = Lines(weights)
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


@dataclass(slots=True)
class Use:
    """What one stream has in memory."""

    deliveries: int = 0
    octets: int = 0


@dataclass(slots=True)
class Window:
    """Room in memory. A reservation is made before a delivery is taken in, and returned when it leaves, once."""

    max_deliveries: int
    max_octets: int
    _used: dict[Stream, Use] = field(default_factory=lambda: {stream: Use() for stream in Stream})

    @property
    def deliveries(self) -> int:
        return sum(use.deliveries for use in self._used.values())

    @property
    def octets(self) -> int:
        return sum(use.octets for use in self._used.values())

    def reserve(self, octets: int, deliveries: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> bool:
        """False, and nothing reserved, if there is no room. A stream without octets takes a message of any size."""
        use = self._used[stream]
        if deliveries > self.free(stream) or (use.octets and octets > self.free_octets(stream)):
            return False
        use.deliveries += deliveries
        use.octets += octets
        return True

    def release(self, octets: int, deliveries: int = 1, stream: Stream = Stream.TRANSACTIONAL) -> None:
        """Undo ``reserve``."""
        self._used[stream].deliveries -= deliveries
        self._used[stream].octets -= octets

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
        return _free(self.max_deliveries, {each: use.deliveries for each, use in self._used.items()}, stream)

    def free_octets(self, stream: Stream) -> int:
        return _free(self.max_octets, {each: use.octets for each, use in self._used.items()}, stream)

    def is_tight(self, stream: Stream) -> bool:
        """Whether room for ``stream`` has become scarce."""
        return self.free(stream) < TIGHT * self.max_deliveries or self.free_octets(stream) < TIGHT * self.max_octets

    def has_room(self, line: Line, stream: Stream, share: float = 1.0) -> bool:
        """Whether more of ``stream`` may wait in ``line``: while that is less than ``share`` of what is free."""
        return not line.waiting or (
            line.waiting < share * self.free(stream) and line.octets < share * self.free_octets(stream)
        )


def _free(room: int, used: dict[Stream, int], stream: Stream) -> int:
    """What ``stream`` may still use of ``room``: what nobody uses, less what is kept for the others; and in any case
    what is left of its own keep."""
    kept = int(KEPT * room)
    for_others = sum(max(0, kept - use) for each, use in used.items() if each is not stream)
    return max(0, room - sum(used.values()) - for_others, kept - used[stream])
