"""This worker's shares of the limits on connections and rates: what may start, what to ask for, what to give back.

A share holds units of one limit, which ``mta.store.queue.limit_shares`` gives out: connections, or starts within a
window. What holds for a path (or for an account at a site) together is a ``Permits``: something may start if every one
of its shares has a free unit.

Invariants: no more units are in use than are held. A unit that was used for a start is in use from before the message
is started until a window after the receiver has answered MAIL: however long that took, no window of the receiver's
holds more starts than there are units.

Limitations: units are asked for in blocks, so that others may lack for a moment what is not used here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, inf

from config.types import rate_limit
from mta.delivery.egress.slots import ConnectionSlots
from mta.store.queue.limit_shares import AGAIN, PARTS, LimitAnswer, LimitKey, LimitRequest

SPARE = 3.0  # seconds after which units go back that were not needed since
SOON = 2.0  # seconds within which a used start that is free again is worth keeping
BLOCK = 16  # part of a rate that is asked for at once
LEAST_BLOCK = 8  # starts
LONGEST_PAUSE = 8.0  # seconds between two questions for more, when others have the rest
EAGER = 0.02  # seconds, at least, between two questions


class Share(ABC):
    """Units of one limit. ``keep``: as many as may be kept, as others wait for the rest. ``epoch``: counts the leases
    under which units were held. ``called``: others wait for units of ours, or have given us some."""

    def __init__(self, key: LimitKey, total: int) -> None:
        self.key, self.total = key, total
        self.held = self.keep = self.epoch = 0
        self.called = False
        self._ask_at, self._pause, self._asked_for = 0.0, AGAIN, 0
        self._peak, self._peak_since = 0, inf  # the most units in use since then

    @property
    @abstractmethod
    def used(self) -> int:
        """Units in use."""

    @property
    def free(self) -> int:
        return self.held - self.used

    def lacks(self, needed: int, now: float) -> bool:
        """Return whether it is time to ask for more, to start ``needed`` more."""
        return now >= self._ask_at and self.is_short(needed)

    def request(self, needed: int, now: float) -> LimitRequest | None:
        """Return what to ask for and to give back now, which is not held any more; None: nothing. ``needed``: how many
        more could start, if there were units."""
        asks, spare = self.lacks(needed, now), self._to_spare(needed, now)
        over = min(self.free, self.held - self.keep)
        if not (asks or spare or over > 0 or self.called):
            return None
        self.called = False
        free, cooling = self._release(max(spare, over, 0), now)
        self._asked_for = min(self.total, self._least(needed))
        return LimitRequest(self.key, self.total, min(self.total, self._wanted(needed)), free, cooling)

    def answered(self, answer: LimitAnswer, now: float) -> bool:
        """Take in what is held now; return whether there is more than before."""
        more = answer.held > self.held
        self.held, self.keep = answer.held, answer.keep
        self._begin_peak(now)
        if self.held >= self._asked_for:
            self._ask_at, self._pause = now + EAGER, AGAIN
        else:
            self._pause = AGAIN if more or not self.held else min(2 * self._pause, LONGEST_PAUSE)
            self._ask_at = now + max(EAGER, self._pause if answer.wait == AGAIN else answer.wait)
        return more

    def failed(self, request: LimitRequest, now: float, *, unknown: bool) -> None:
        """Take back what could not be given back; ``unknown``: it may have been."""
        self._ask_at = now + AGAIN
        if not unknown:
            self._restore(request, now)

    def call(self) -> None:
        """Ask at once."""
        self.called, self._ask_at = True, 0.0

    def answer_in(self, now: float) -> float:
        """Return the seconds until it is worth asking for more."""
        return max(0.0, self._ask_at - now)

    def lose(self) -> None:
        """Forget everything: the lease is lost."""
        self.held = self.keep = 0
        self.epoch += 1
        self.called = False
        self._ask_at, self._pause, self._peak_since = 0.0, AGAIN, inf

    def due_at(self, needed: int, now: float) -> float:
        """Return when ``request`` may have something to say; infinite: not as things are."""
        if self.called or (self.free > 0 and self.held > self.keep):
            return now
        return min(max(now, self._ask_at) if self.is_short(needed) else inf, self._peak_since + SPARE)

    def _note(self) -> None:
        self._peak = max(self._peak, self.used)

    def _begin_peak(self, now: float) -> None:
        self._peak, self._peak_since = self.used, now if self.held else inf

    def _to_spare(self, needed: int, now: float) -> int:
        """Return how many units were not needed for SPARE seconds."""
        if now < self._peak_since + SPARE:
            return 0
        spare = self.held - max(self._peak, self._least(needed))
        self._begin_peak(now)
        return max(0, spare)

    def is_short(self, needed: int) -> bool:
        """Return whether more units are needed to start ``needed`` more, and there may be some."""
        return needed > 0 and self.held < min(self.total, self._least(needed))

    def _least(self, needed: int) -> int:
        """Return how many units are enough to start ``needed`` more."""
        return self.used + needed

    def _wanted(self, needed: int) -> int:
        return self._least(needed)

    def _release(self, free: int, now: float) -> tuple[int, tuple[tuple[float, int], ...]]:
        """Let go of free units; return their number, and what else goes."""
        self.held -= free
        return free, ()

    def _restore(self, request: LimitRequest, now: float) -> None:
        self.held += request.free


class ConnectionShare(Share):
    """Connections. ``running``: users that have one, or are about to open it. ``slots``: of the connections that exist,
    idle ones included."""

    def __init__(self, key: LimitKey, total: int, slots: ConnectionSlots) -> None:
        super().__init__(key, total)
        self.running = 0
        self.slots = slots
        self._show()

    @property
    def used(self) -> int:
        return max(self.running, self.slots.open)

    @property
    def usable(self) -> int:
        """How many users there may be."""
        return min(self.held, self.keep)

    @property
    def is_over(self) -> bool:
        """Whether others wait for connections that are open here."""
        return self.held > self.keep

    def begin(self) -> None:
        self.running += 1
        self._note()

    def end(self) -> None:
        self.running -= 1

    def answered(self, answer: LimitAnswer, now: float) -> bool:
        more = super().answered(answer, now)
        self._show()
        return more

    def lose(self) -> None:
        super().lose()
        self._show()

    def _begin_peak(self, now: float) -> None:
        super()._begin_peak(now)
        self.slots.peak = self.slots.open

    def _to_spare(self, needed: int, now: float) -> int:
        self._peak = max(self._peak, self.slots.peak)
        return super()._to_spare(needed, now)

    def _least(self, needed: int) -> int:
        """Users take idle connections."""
        return max(self.running + needed, self.slots.open)

    def _wanted(self, needed: int) -> int:
        return max(self._least(needed), (self.running + needed) * 3 // 2 if needed else 0)

    def _release(self, free: int, now: float) -> tuple[int, tuple[tuple[float, int], ...]]:
        released = super()._release(free, now)
        self._show()
        return released

    def _restore(self, request: LimitRequest, now: float) -> None:
        super()._restore(request, now)
        self._show()

    def _show(self) -> None:
        self.slots.most = self.held


class RateShare(Share):
    """Starts within a window of ``key.seconds``."""

    def __init__(self, key: LimitKey, total: int) -> None:
        super().__init__(key, total)
        self._reserved = 0
        self._cooling: deque[tuple[float, int]] = deque()  # when they are free again, in order
        self._cooled = 0  # how many these are
        self._doubtful = False  # what was given back may not have been

    @property
    def used(self) -> int:
        return self._reserved + self._cooled

    def reserve(self) -> None:
        self._reserved += 1
        self._note()

    def unreserve(self) -> None:
        self._reserved -= 1

    def started(self, now: float) -> None:
        """Note that a unit reserved has been used."""
        self._reserved -= 1
        self._add(now + self.key.seconds, 1)

    def cool(self, now: float) -> None:
        """Let the units be free whose window is over."""
        while self._cooling and self._cooling[0][0] <= now:
            self._cooled -= self._cooling.popleft()[1]

    def wait(self, now: float) -> float:
        """Return the seconds until a unit is free; infinite if one must be asked for."""
        self.cool(now)
        if self.free > 0:
            return 0.0
        return self._cooling[0][0] - now if self._cooling else inf

    def request(self, needed: int, now: float) -> LimitRequest | None:
        self.cool(now)
        if now >= self._peak_since + SPARE and self._cooling and self._cooling[-1][0] > now + SOON:
            self.called = True  # what was used is on record, should this worker end without a word
        return super().request(needed, now)

    def answered(self, answer: LimitAnswer, now: float) -> bool:
        if self._doubtful and answer.held > self.held:  # they may have been used already
            self._add(now + self.key.seconds, answer.held - self.held)
        self._doubtful = False
        return super().answered(answer, now)

    def failed(self, request: LimitRequest, now: float, *, unknown: bool) -> None:
        super().failed(request, now, unknown=unknown)
        self._doubtful |= unknown

    def lose(self) -> None:
        super().lose()
        self._reserved = self._cooled = 0
        self._cooling.clear()
        self._doubtful = False

    def is_short(self, needed: int) -> bool:
        """Ask before the last one is used."""
        return 2 * self.free <= self._block and super().is_short(needed)

    def _least(self, needed: int) -> int:
        return self.used + min(needed, self._block)

    @property
    def _block(self) -> int:
        return min(self.total, max(LEAST_BLOCK, self.total // BLOCK))

    def _release(self, free: int, now: float) -> tuple[int, tuple[tuple[float, int], ...]]:
        """Let go of free units, of used ones for which others wait, and of those that are not free again soon."""
        self.held -= free
        over = self.held - self.keep
        kept: deque[tuple[float, int]] = deque()
        back: list[tuple[float, int]] = []
        for until, count in reversed(self._cooling):
            number = count if until - now > SOON else min(count, max(0, over))
            if number:
                back.append((until - now, number))
                over -= number
            if number < count:
                kept.appendleft((until, count - number))
        gone = sum(count for _, count in back)
        self._cooling = kept
        self._cooled -= gone
        self.held -= gone
        return free, tuple(back)

    def _restore(self, request: LimitRequest, now: float) -> None:
        super()._restore(request, now)
        for remaining, count in reversed(request.cooling):
            self.held += count
            self._add(now + remaining, count)

    def _add(self, until: float, count: int) -> None:
        """Let units cool; of many, those that are free again within a part of the window are so at its end."""
        self._cooled += count
        if self.total > 2 * PARTS:
            part = self.key.seconds / PARTS
            until = ceil(until / part) * part
        if self._cooling and until == self._cooling[-1][0]:
            count += self._cooling.pop()[1]
        self._cooling.append((until, count))


def units(connections: int | None, message_rates: Iterable[str]) -> dict[int, int]:
    """Return how many units each limit has, by the seconds of its window; 0: connections. Of several rates over the
    same window the lowest holds."""
    totals: dict[int, int] = {} if connections is None else {0: connections}
    for text in message_rates:
        most, seconds = rate_limit(text)
        totals[int(seconds)] = min(most, totals.get(int(seconds), most))
    return totals


class Permits:
    """The limits that hold together in one scope. ``needed``: returns for how many more users of a connection, and for
    how many more starts, there is use now. ``changed``: called when they allow more, or others wait for units."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        self.slots = ConnectionSlots(0)
        self.connections: ConnectionShare | None = None
        self.rates: Sequence[RateShare] = ()
        self.retired: list[Share] = []  # of limits that do not hold any more: what is held goes back
        self.needed: Callable[[float], tuple[int, int]] = lambda _: (0, 0)
        self.changed: Callable[[], None] = lambda: None
        self.due_at = inf

    @property
    def shares(self) -> Iterable[Share]:
        if self.connections is not None:
            yield self.connections
        yield from self.rates
        yield from self.retired

    def limit(self, connections: int | None, message_rates: Iterable[str]) -> None:
        """Set the limits."""
        totals = units(connections, message_rates)
        known = {share.key.seconds: share for share in self.shares}
        shares = [known.get(seconds) or self._new(seconds, total) for seconds, total in totals.items()]
        unused = [share for seconds, share in known.items() if seconds not in totals]
        for share in [*self.retired, *unused]:
            share.call()
        for share in shares:
            if share.total != (total := totals[share.key.seconds]):
                share.total, share.keep = total, min(share.keep, total)
                share.call()
        self.connections = next((share for share in shares if isinstance(share, ConnectionShare)), None)
        self.rates = [share for share in shares if isinstance(share, RateShare)]
        self.retired = unused

    def _new(self, seconds: int, total: int) -> Share:
        key = LimitKey(self.scope, seconds)
        return RateShare(key, total) if seconds else ConnectionShare(key, total, self.slots)

    def is_short(self, now: float) -> bool:
        """Return whether more could start if there were more units, and there may be."""
        users, starts = self.needed(now)
        short = self.connections is not None and self.connections.is_short(users)
        return short or any(rate.is_short(starts) for rate in self.rates)

    def requests(self, now: float) -> Sequence[tuple[Share, LimitRequest]]:
        """Return what to ask for and to give back now."""
        self.retired = [share for share in self.retired if share.held or share.called]
        for share in self.retired:
            share.keep = 0
        return [(share, request) for share, needed in self._needs(now) if (request := share.request(needed, now))]

    def next_due(self, now: float) -> float:
        """Return when there may be something to ask for, or to give back; infinite if nothing is held or needed."""
        return min((share.due_at(needed, now) for share, needed in self._needs(now)), default=inf)

    def _needs(self, now: float) -> Iterator[tuple[Share, int]]:
        users, starts = self.needed(now)
        if self.connections is not None:
            yield self.connections, users
        for rate in self.rates:
            yield rate, starts
        for share in self.retired:
            yield share, 0

    def lose(self) -> None:
        """Forget what is held: the lease is lost."""
        for share in self.shares:
            share.lose()
        self.retired = []

    def yield_all(self) -> None:
        """Let everything go back."""
        for share in self.shares:
            share.keep = 0

    # starts

    def startable(self, now: float) -> int:
        """Return how many more messages the rates allow at this moment."""
        free = 1_000_000_000
        for rate in self.rates:
            rate.cool(now)
            free = min(free, rate.free)
        return free

    def wait(self, now: float) -> float:
        """Return the seconds until the rates allow a start; infinite if units must be asked for."""
        return max((rate.wait(now) for rate in self.rates), default=0.0)

    def closed_for(self, now: float) -> float:
        """Return the seconds for which the rates allow no start, as far as is known."""
        return max((min(rate.wait(now), rate.answer_in(now)) for rate in self.rates), default=0.0)

    def reserve(self) -> Sequence[tuple[RateShare, int]]:
        """Take a unit of each rate."""
        for rate in self.rates:
            rate.reserve()
        return [(rate, rate.epoch) for rate in self.rates]
