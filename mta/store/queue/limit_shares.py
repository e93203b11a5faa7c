"""One limit over all workers and machines: who holds how many of its units, and who is given the next.

A unit of a limit on connections is one connection. A unit of a rate, so many in a window of some seconds, is one start;
when it was used it cools for the length of the window, and is free again. A worker holds units under its lease, uses
them without asking, and brings back what it does not need. ``exchange`` alone decides, under a lock on the limit.

Where all want more than there is, each gets an equal part. If there are fewer units than workers, they go round: one
that was held for TURN seconds goes to the worker that has waited longest.

Invariants: what is held and what cools is never more than the total, unless the total was lowered: then nothing is
given out until it fits. The units of a worker whose lease has ended may have been used until its end: those of a rate
cool for a whole window.

Limitations: a total differs between machines while they take over another configuration; each counts with its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import orjson

TURN = 2.0  # seconds for which a worker keeps a unit that others wait for
AGAIN = 1.0  # seconds after which one that lacks units asks again: others may have ended without a word
PARTS = 50  # of a window; units that are free again within one of them are counted together


class LimitKey(NamedTuple):
    """``scope``: what is limited. ``seconds``: the window of a rate; 0: concurrent connections."""

    scope: str
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class LimitRequest:
    """What a worker says of its share. ``wanted``: units that it has use for, those that it holds included. ``free``:
    units that it brings back. ``cooling``: used ones that it brings back, each with the seconds until they are free."""

    key: LimitKey
    total: int
    wanted: int
    free: int = 0
    cooling: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LimitAnswer:
    """``held``: by the worker, now. ``keep``: as many as it may keep, as others wait for the rest. ``wait``: seconds
    after which to ask again, if it wants more than it holds."""

    held: int
    keep: int
    wait: float = AGAIN


@dataclass(slots=True)
class WorkerShare:
    """What one worker holds. ``since``: when its turn began, or its wait."""

    held: int
    wanted: int
    since: float


@dataclass(slots=True)
class SharedLimit:
    """``shares``: by lease. ``cooling``: when units are free again, and how many. Times are those of ``LimitTime``."""

    shares: dict[int, WorkerShare] = field(default_factory=dict)
    cooling: list[tuple[float, int]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.shares and not self.cooling

    @property
    def used(self) -> int:
        """How many units are held or cool."""
        return sum(share.held for share in self.shares.values()) + sum(count for _, count in self.cooling)


def exchange(
    limit: SharedLimit, request: LimitRequest, lease: int, live: Collection[int], now: float
) -> tuple[LimitAnswer, Collection[int]]:
    """Take back what ``lease`` brings, give out what is free, and return its answer and the leases that must ask now:
    they were given something, or hold what others wait for. ``live``: leases that have not ended."""
    seconds = request.key.seconds
    settle(limit, seconds, live, now)
    own = _take_back(limit, request, lease, now)
    usable = max(0, request.total - sum(count for _, count in limit.cooling))
    targets = fair_parts(usable, limit.shares, now)
    called = _give_out(limit, targets, request.total, now)
    lacking = {each for each, share in limit.shares.items() if share.held < targets[each]}
    if lacking:
        called |= {each for each, share in limit.shares.items() if share.held > targets[each]}
    called.discard(lease)
    target, wait = targets[lease], AGAIN
    if own.held >= target and limit.cooling:
        first = limit.cooling[0][0] - now
        others = any(share.held for each, share in limit.shares.items() if each != lease)
        wait = min(first, TURN) if others else first  # what others hold goes round
    waited_for = lacking - {lease} or limit.used > request.total
    answer = LimitAnswer(own.held, target if waited_for else max(target, own.held), wait)
    if not own.held and not own.wanted:
        del limit.shares[lease]
    return answer, called


def fair_parts(usable: int, shares: Mapping[int, WorkerShare], now: float) -> dict[int, int]:
    """Return how many of ``usable`` units each share should have: what it wants, or an equal part of what is left."""
    parts: dict[int, int] = {}
    left, short = usable, sorted(shares.items(), key=lambda item: item[1].wanted, reverse=True)
    while short and (wanted := short[-1][1].wanted) <= left // len(short):
        parts[short.pop()[0]] = wanted
        left -= wanted
    if short:
        part, odd = divmod(left, len(short))
        short.sort(key=lambda item: _turn(item[1], part, now))
        parts |= {lease: part + (place < odd) for place, (lease, _) in enumerate(short)}
    return parts


def _turn(share: WorkerShare, part: int, now: float) -> tuple[int, float]:
    """Return the place in the line for one of the units that do not divide: those that hold one keep it, if they have
    another as well, or their turn is not over."""
    if share.held > part and (part or now - share.since < TURN):
        return 0, share.since
    return (2 if share.held else 1), share.since


def settle(limit: SharedLimit, seconds: int, live: Collection[int], now: float) -> None:
    """Let go of what leases that have ended held, and of what has cooled."""
    longest = now + seconds * (1 + 1 / PARTS)  # longer only if the clock was set back
    limit.cooling = [(min(until, longest), count) for until, count in limit.cooling if until > now]
    for lease in [lease for lease in limit.shares if lease not in live]:
        held = limit.shares.pop(lease).held
        if seconds and held:
            _cool(limit, [(seconds, held)], seconds, now)


def _take_back(limit: SharedLimit, request: LimitRequest, lease: int, now: float) -> WorkerShare:
    own = limit.shares.get(lease)
    if own is None:
        own = limit.shares[lease] = WorkerShare(0, 0, now)
    held, waited = own.held, own.wanted > 0 and not own.held
    if request.cooling:
        _cool(limit, request.cooling, request.key.seconds, now)
    own.held = max(0, own.held - request.free - sum(count for _, count in request.cooling))
    own.wanted = min(request.wanted, request.total)
    if not own.held and (held or not waited):
        own.since = now  # its turn has ended, or its wait begins
    return own


def _cool(limit: SharedLimit, units: Iterable[tuple[float, int]], seconds: int, now: float) -> None:
    """Let units cool for so many seconds more, rounded up to a part of the window."""
    part, parts = seconds / PARTS, Counter[float]()
    for until, count in limit.cooling:
        parts[until] += count
    for remaining, count in units:
        parts[ceil((now + min(remaining, seconds)) / part) * part] += count
    limit.cooling = sorted(parts.items())


def _give_out(limit: SharedLimit, targets: Mapping[int, int], total: int, now: float) -> set[int]:
    """Give free units to those that have less than their part, the longest wait first; return who got some."""
    free = total - limit.used
    given: set[int] = set()
    for lease, share in sorted(limit.shares.items(), key=lambda item: (item[1].held > 0, item[1].since)):
        number = min(free, targets[lease] - share.held)
        if number > 0:
            if not share.held:
                share.since = now
            share.held += number
            free -= number
            given.add(lease)
    return given


class LimitTime:
    """The time by which units cool: the database's clock, but never faster than this worker's own monotonic clock.

    A step of the database's clock forward would free what was just used. ``behind``: seconds that the limits' time is
    behind the database's clock, for every worker.

    Limitations: a step while no worker runs is not seen. A step backward makes units cool for up to a window longer,
    and so does a pause of a machine that stops its clock.
    """

    TOLERANCE = 0.001  # of the time that has passed: clocks differ in their rates
    JITTER = 0.05  # seconds

    def __init__(self) -> None:
        self._seen: tuple[float, float] | None = None  # limits' time, monotonic

    def behind(self, database: float, behind: float, began: float, now: float) -> float:
        """Return what ``behind`` must be. ``database``: its clock, read between ``began`` and ``now`` (monotonic)."""
        moment = database - behind
        if self._seen is not None:
            seen, at = self._seen
            latest = seen + (now - at) * (1 + self.TOLERANCE) + self.JITTER
            if moment > latest:
                behind += moment - (seen + began - at)
                moment = database - behind
        self._seen = moment, began
        return behind


def encode(limit: SharedLimit) -> bytes:
    """Return the state as it is kept."""
    shares = {str(lease): (each.held, each.wanted, each.since) for lease, each in limit.shares.items()}
    return orjson.dumps({"shares": shares, "cooling": limit.cooling})


def decode(kept: str) -> SharedLimit:
    """Return the state that was kept."""
    state = orjson.loads(kept)
    shares = {int(lease): WorkerShare(*share) for lease, share in state["shares"].items()}
    return SharedLimit(shares, [(until, count) for until, count in state["cooling"]])
