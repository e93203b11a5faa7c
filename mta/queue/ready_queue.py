"""Jobs that wait in memory: for a connection to their site, or for their route.

A ready queue holds the jobs of one site (all domains that share their MX); which of them is next, ``fair_queue`` says.
As much may wait in one as is still free for its stream (Choudhury and Hahne, "Dynamic queue length thresholds", 1998):
however many sites stand still, there is room left for those that move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from config.schema import Shaping
from mta.mail.message import Stream
from mta.queue.active_queue import ActiveQueue, Job
from mta.queue.fair_queue import FairQueue, Weights
from mta.queue.throttle import Throttle

DESTINATIONS = 1000  # remembered of one ready queue
OVERDUE = 10.0  # seconds after which an attempt is not what a site that answers would make of it


class Standing(Enum):
    """What a worker knows of a site when connections are scarce."""

    ANSWERS = auto()
    UNKNOWN = auto()  # no attempt has ended yet
    SILENT = auto()  # the last attempt failed to get a connection, or most of those under way are overdue


class ReadyQueue:
    """``shaping``: where the throttle's limits come from. ``running``: how many runners it has.
    ``destinations``: domains seen recently. ``answers``: whether the last attempt got its dialogue, None before any.
    """

    __slots__ = ("_began", "answers", "destinations", "flows", "running", "shaping", "site", "throttle")

    def __init__(self, site: str, shaping: Shaping, throttle: Throttle, weights: Weights) -> None:
        self.site, self.shaping, self.throttle = site, shaping, throttle
        self.flows = FairQueue(weights)
        self.running = 0
        self.destinations: set[str] = set()
        self.answers: bool | None = None
        self._began: dict[Job, float] = {}  # attempts under way, the oldest first

    @property
    def waiting(self) -> int:
        return self.flows.waiting

    @property
    def taken(self) -> int:
        """How many jobs were taken since the counters were last reset."""
        return sum(self.flows[stream].taken for stream in Stream)

    def accepts(self, stream: Stream, active_queue: ActiveQueue, share: float = 1.0) -> bool:
        """Return whether more of ``stream`` may wait here: less waits than ``share`` of what is still free."""
        flow = self.flows[stream]
        return not flow.waiting or (
            flow.waiting < share * active_queue.free(stream) and flow.octets < share * active_queue.free_octets(stream)
        )

    def add(self, job: Job) -> None:
        self.flows.add(job)

    def remember(self, destination: str) -> None:
        """Note that ``destination`` is served by this site."""
        if len(self.destinations) >= DESTINATIONS:
            self.destinations.clear()
        self.destinations.add(destination)

    def take(self) -> Job | None:
        """Remove and return the next job."""
        return self.flows.take()

    def take_all(self) -> list[Job]:
        """Remove and return everything that waits."""
        return [job for stream in Stream for job in self.flows[stream].take_all()]

    def __iter__(self) -> Iterator[Job]:
        return iter(self.flows)

    def startable(self, now: float) -> int:
        """Return how many more jobs may start now."""
        return min(self.waiting, self.throttle.allowed(now) - self.running)

    def began(self, job: Job, now: float) -> None:
        """Note that an attempt at ``job`` is under way, until ``ended``."""
        self._began[job] = now

    def ended(self, job: Job) -> None:
        self._began.pop(job, None)

    def standing(self, now: float) -> Standing:
        """Return whether the site answers."""
        overdue = 0
        for began in self._began.values():
            if now - began <= OVERDUE:
                break
            overdue += 1
        if self.answers is False or 2 * overdue > len(self._began):
            return Standing.SILENT
        return Standing.UNKNOWN if self.answers is None else Standing.ANSWERS

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


class AwaitingRoute:
    """Jobs whose route is being looked up, by destination.

    Limitations: they are counted by stream only: one account's list of dead domains fills the room of its stream.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Job]] = {}
        self._count: Counter[Stream] = Counter()

    def count(self, stream: Stream) -> int:
        return self._count[stream]

    def add(self, job: Job) -> bool:
        """Keep a job; return whether it is the first for its destination, whose route must then be looked up."""
        self._count[job.delivery.stream] += 1
        jobs = self._waiting.setdefault(job.delivery.destination, [])
        jobs.append(job)
        return len(jobs) == 1

    def pop(self, destination: str) -> Sequence[Job]:
        """Remove and return what waits for a route to ``destination``."""
        jobs = self._waiting.pop(destination, [])
        self._count.subtract(job.delivery.stream for job in jobs)
        return jobs

    def pop_all(self) -> list[Job]:
        return [job for destination in list(self._waiting) for job in self.pop(destination)]
