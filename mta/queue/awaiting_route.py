"""Deliveries whose route is not known yet, by destination.

*Limits.* They are counted by stream only: one customer's list of dead domains fills the room of his stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mta.mail.delivery import Delivery
from mta.mail.message import Stream


class AwaitingRoute:
    def __init__(self) -> None:
        self._waiting: dict[str, list[Delivery]] = {}
        self._count: Counter[Stream] = Counter()

    def count(self, stream: Stream) -> int:
        return self._count[stream]

    def add(self, delivery: Delivery) -> bool:
        """Keep a delivery; whether it is the first for its destination, whose route is then to be found."""
        self._count[delivery.stream] += 1
        queue = self._waiting.setdefault(delivery.destination, [])
        queue.append(delivery)
        return len(queue) == 1

    def pop(self, destination: str) -> Sequence[Delivery]:
        """Remove and return what waits for a route to ``destination``."""
        deliveries = self._waiting.pop(destination, [])
        self._count.subtract(delivery.stream for delivery in deliveries)
        return deliveries

    def pop_all(self) -> list[Delivery]:
        return [delivery for destination in list(self._waiting) for delivery in self.pop(destination)]
