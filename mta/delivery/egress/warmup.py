"""How much a source that warms up may send to a provider group: on which day of its plan it is, what that day allows
by now, to whom, and when it is better to stop.

A day of the plan is a day on which mail is sent. The next one comes when at least half of the last one's volume was
used; a day that was paused is followed by the one before; after a month without mail a plan begins anew, because that
is how long providers remember an address. What a day allows is released from midnight to the evening (UTC). Recipients
who have shown interest lately take of it first; what they have left after LATER is for the others.

Sources of these rules: docs/shaping.md, "Warm-up".

Invariants: on no day more recipients than planned are lent.
Limitations: a transaction with more recipients than the day allows waits for a day that does, or takes another source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from config.egress import WarmupCurve
from config.schema import EgressSettings, ShapingSettings
from mta.delivery.egress.pools import SourcePools
from mta.mail.warmup import WarmupDay, WarmupLoan

SPREAD = timedelta(hours=20)  # from midnight; then all of a day's volume is released
AHEAD = timedelta(hours=1)  # what this time releases is there at midnight
LATER = timedelta(hours=4)  # after which recipients without recent contact may have what was released
ENOUGH = 0.5  # share of a day's volume that makes it count
FORGOTTEN = timedelta(days=30)  # without mail
BLOCK = 8  # part of what is free that is lent at once
WARM_BLOCK = 500  # lent at once when the plan is over: it is only counted

BAD_AT_LEAST = 5  # answers against us
BAD_SHARE = 0.05  # of all answers of the day


@dataclass(frozen=True, slots=True)
class WarmupPlan:
    """``daily``: recipients on each day of the plan. ``first``: the step to begin with, from 0."""

    source: str
    provider: str
    curve: str
    daily: tuple[int, ...]
    first: int = 0

    def planned(self, step: int) -> int | None:
        """Return how many recipients a step allows in a day; None: the source is warm, as many as there are."""
        return self.daily[step] if step < len(self.daily) else None

    def step_on(self, today: date, last: WarmupDay | None) -> int:
        """Return the step of a day. ``last``: the latest day before it on which there was mail."""
        if last is None or today - last.day > FORGOTTEN:
            return self.first
        step = min(last.step, len(self.daily))
        planned = self.planned(step)
        if planned is None:
            return step
        if last.paused:
            return max(0, step - 1)
        return step + 1 if last.used >= ENOUGH * planned else step

    def loan(self, day: WarmupDay, wanted: int, now: datetime) -> WarmupLoan:
        """Return what a worker that wants to send to so many recipients gets."""
        if day.paused:
            return WarmupLoan(0, 0, _until_tomorrow(now), _until_tomorrow(now))
        planned = self.planned(day.step)
        if planned is None:
            most = max(wanted, WARM_BLOCK)
            return WarmupLoan(most, most)
        free = _released(planned, now) - day.used
        granted = min(free, max(wanted, free // BLOCK)) if free >= wanted else 0
        others = max(0, min(granted, _released(planned, now - LATER, of=now) - day.used))
        return WarmupLoan(
            granted,
            others if others >= wanted else 0,
            0.0 if granted else _wait(planned, day.used + wanted, now),
            0.0 if others >= wanted else _wait(planned, day.used + wanted, now, LATER),
        )

    def verdict(self, day: WarmupDay) -> str:
        """Return why nothing more should be sent on this day, empty if it may."""
        if self.planned(day.step) is None or day.bad < BAD_AT_LEAST or day.bad < BAD_SHARE * (day.good + day.bad):
            return ""
        return f"{day.bad} of {day.good + day.bad} answers were against us as a sender"


class WarmupPlans:
    """The plans of the configuration, by source and provider group (``default``: all other sites together)."""

    def __init__(self, settings: ShapingSettings, pools: SourcePools) -> None:
        curves = {curve.name: curve for curve in settings.curves}
        providers = [*(provider.name for provider in settings.providers), "default"]
        self._plans: dict[str, dict[str, WarmupPlan]] = {}
        for warmup in settings.warmup:  # later entries replace earlier ones
            pool = pools.get(warmup.pool) if warmup.pool is not None else None
            sources = [source.name for source in pool.sources] if pool else [warmup.source] if warmup.source else []
            for source in sources:
                for provider in [warmup.provider] if warmup.provider is not None else providers:
                    plan = WarmupPlan(
                        source, provider, warmup.curve, _daily(curves, warmup.curve), warmup.first_day - 1
                    )
                    self._plans.setdefault(source, {})[provider] = plan

    @classmethod
    def none(cls) -> WarmupPlans:
        """Return no plans."""
        return cls(ShapingSettings(), SourcePools(EgressSettings()))

    def __bool__(self) -> bool:
        return bool(self._plans)

    def of(self, source: str, provider: str) -> WarmupPlan | None:
        """Return the plan of a source at a provider group; None: it sends as much as its limits allow."""
        plans = self._plans.get(source)
        return plans.get(provider) if plans else None

    def all(self) -> Sequence[WarmupPlan]:
        """Return all of them."""
        return [plan for plans in self._plans.values() for plan in plans.values()]


def _daily(curves: Mapping[str, WarmupCurve], name: str) -> tuple[int, ...]:
    return tuple(curves[name].daily)


def _released(planned: int, at: datetime, of: datetime | None = None) -> int:
    """Return how many of a day's recipients are released at a time; none on the day before that of ``of``."""
    if of is not None and at.astimezone(UTC).date() != of.astimezone(UTC).date():
        return 0
    share = (_since_midnight(at) + AHEAD) / SPREAD
    return min(planned, max(1, math.floor(planned * share)))


def _wait(planned: int, number: int, now: datetime, later: timedelta = timedelta()) -> float:
    """Return the seconds until so many recipients are released, the volume of the next day taken for the same."""
    if number > planned:
        return _until_tomorrow(now)
    at = max(timedelta(), SPREAD * (number / planned) - AHEAD) + later
    left = (at - _since_midnight(now)).total_seconds()
    return min(max(1.0, math.ceil(left)), _until_tomorrow(now))


def _since_midnight(at: datetime) -> timedelta:
    at = at.astimezone(UTC)
    return at - at.replace(hour=0, minute=0, second=0, microsecond=0)


def _until_tomorrow(now: datetime) -> float:
    return math.ceil((timedelta(days=1) - _since_midnight(now)).total_seconds())
