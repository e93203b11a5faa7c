"""How many connections to receivers a worker may have, and which site may open one more.

Each runner has one connection at most, so runners are counted. While less than half of the budget is in use, everyone
may open more. From then on a site may have as many as are still free (Choudhury and Hahne, "Dynamic queue length
thresholds", 1998), so that something stays free for the next one, and the rest of the budget is for sites that answer:

    0 ──────────────────── 1/2 ────────── 5/8 ────────── 7/8 ──── 1
      everyone              sites not known yet
                                           their first connection
                                                          sites that answer

A site that answers in time needs few connections for much mail; one that does not can hold each of them for minutes.

Invariants: sites that do not answer leave an eighth of the budget to those that do.
Limitations: what is in use is not taken away: a connection ends with its message. While sites that nobody knew hold
seven eighths, another one that is not known yet waits until one of theirs ends.
"""

from __future__ import annotations

from collections.abc import Iterator

from mta.queue.ready_queue import ReadyQueue, Standing

FOR_ALL = 1 / 2
FOR_UNKNOWN = 5 / 8
FOR_FIRST = 7 / 8  # an unknown site's first connection
SCAN = 200  # waiting sites that are looked at when a connection ends


class ConnectionBudget:
    """``most``: connections at once. Sites that were not admitted wait in turn."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._waiting: dict[ReadyQueue, None] = {}

    @property
    def is_scarce(self) -> bool:
        return self.used >= FOR_ALL * self.most

    def take(self, queue: ReadyQueue, now: float) -> bool:
        """Count one more connection of ``queue`` and return True; or note that it waits, and return False."""
        if not self._admits(queue, now):
            self._waiting[queue] = None
            return False
        self._waiting.pop(queue, None)
        self.used += 1
        return True

    def keeps(self, queue: ReadyQueue, now: float) -> bool:
        """Return whether a connection of ``queue`` may serve another message, or must make room."""
        used, others = self.used - 1, queue.running - 1
        return not self.is_scarce or (
            used < self._limit(queue, others, now) and others < max(1, 2 * (self.most - used))
        )

    def release(self) -> None:
        self.used -= 1

    def admissible(self, now: float) -> Iterator[ReadyQueue]:
        """Yield the sites that waited longest and may open a connection now; those that may not go to the end."""
        for _ in range(min(SCAN, len(self._waiting))):
            queue = next(iter(self._waiting), None)
            if queue is None:
                return
            del self._waiting[queue]
            if self._admits(queue, now):
                yield queue
            elif queue.waiting:
                self._waiting[queue] = None

    def _admits(self, queue: ReadyQueue, now: float) -> bool:
        if not self.is_scarce:
            return self.used < self.most
        return self.used < self._limit(queue, queue.running, now) and queue.running < max(1, self.most - self.used)

    def _limit(self, queue: ReadyQueue, others: int, now: float) -> float:
        """Return up to how many connections in all ``queue`` may have one beside ``others`` of its own."""
        match queue.standing(now):
            case Standing.ANSWERS:
                return self.most
            case Standing.UNKNOWN:
                return self.most * (FOR_UNKNOWN if others else FOR_FIRST)
            case Standing.SILENT:
                return self.most * FOR_ALL
