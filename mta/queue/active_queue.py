"""What this worker has in memory: jobs, and the memory reserved for them.

``ActiveQueue`` bounds what a worker holds in memory, in deliveries and in octets. Part of it is kept for each stream,
whatever the other one brings.

Limitations: the deliveries of one message share its content, but each reserves its whole size: which of them will be
the last is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mta.mail.delivery import Attempt, Delivery
from mta.mail.message import Stream
from mta.mail.shaping_action import Place
from mta.mail.values import dataclass

TIGHT = 1 / 8  # share of the active queue that is kept free at the cost of slow sites
KEPT = 1 / 8  # share of the active queue that is kept for each stream


class Reservation:
    """Room for one delivery in the active queue, until it is released."""

    __slots__ = ("_active_queue", "_octets", "_stream")

    def __init__(self, active_queue: ActiveQueue, octets: int, stream: Stream) -> None:
        self._active_queue: ActiveQueue | None = active_queue
        self._octets, self._stream = octets, stream

    def release(self) -> None:
        """Return the room. Every further call does nothing."""
        if self._active_queue is not None:
            self._active_queue._free(self._octets, self._stream)
            self._active_queue = None


@dataclass(slots=True, eq=False)
class Job:
    """A delivery that this worker holds, and what is known about it here.

    ``reservation``: its room in the active queue; None for a part of a delivery that has gone its own way.
    ``checked_at``: monotonic time (seconds) at which the recipients were last known not to be suppressed.
    ``provider``: where its route leads, as it is counted; empty until that is known. ``place``: where it stands,
    without its source. ``engaged``: whether its recipients have shown interest lately, None until that is asked.
    """

    delivery: Delivery
    reservation: Reservation | None
    checked_at: float = 0.0
    provider: str = ""
    place: Place | None = None
    engaged: bool | None = None

    def split(self, attempt: Attempt) -> Job:
        """Leave to this job what was attempted; return the rest."""
        rest = replace(self.delivery, recipients=attempt.untried, whole=False)
        self.delivery = attempt.delivery
        return Job(rest, None, self.checked_at, self.provider, self.place, self.engaged)

    def release(self) -> None:
        """Return its room in the active queue."""
        if self.reservation is not None:
            self.reservation.release()


class StreamBudget:
    """An amount that the streams share. ``total``: how much of it is used."""

    __slots__ = ("most", "total", "used")

    def __init__(self, most: int) -> None:
        self.most = most
        self.total = 0
        self.used = dict.fromkeys(Stream, 0)

    def add(self, number: int, stream: Stream) -> None:
        self.total += number
        self.used[stream] += number

    def free(self, stream: Stream) -> int:
        """Return what ``stream`` may still use: what is unused, less what is kept for the others; at least what is
        left of its own share."""
        kept = int(KEPT * self.most)
        free = self.most - self.total
        for each, used in self.used.items():
            if used < kept and each is not stream:
                free -= kept - used
        return max(0, free, kept - self.used[stream])


class ActiveQueue:
    """Room in memory, reserved before a delivery is taken in."""

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

    def reserve(self, octets: int, stream: Stream) -> Reservation | None:
        """Reserve room for one delivery; None if there is none."""
        reservations = self.reserve_all((octets,), stream)
        return reservations[0] if reservations else None

    def reserve_all(self, octets: Sequence[int], stream: Stream) -> Sequence[Reservation] | None:
        """Reserve room for a delivery of each size, or for none of them: None.

        A stream that holds nothing takes deliveries of any size.
        """
        total = sum(octets)
        if len(octets) > self._deliveries.free(stream):
            return None
        if self._octets.used[stream] and total > self._octets.free(stream):
            return None
        self._deliveries.add(len(octets), stream)
        self._octets.add(total, stream)
        return [Reservation(self, each, stream) for each in octets]

    def _free(self, octets: int, stream: Stream) -> None:
        self._deliveries.add(-1, stream)
        self._octets.add(-octets, stream)

    def free(self, stream: Stream) -> int:
        """Return how many more deliveries of ``stream`` there is room for."""
        return self._deliveries.free(stream)

    def free_octets(self, stream: Stream) -> int:
        return self._octets.free(stream)

    def is_tight(self, stream: Stream) -> bool:
        """Return whether room for ``stream`` has become scarce."""
        budgets = (self._deliveries, self._octets)
        return any(budget.free(stream) < TIGHT * budget.most for budget in budgets)
