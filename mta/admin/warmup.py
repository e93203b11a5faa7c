"""Sources that warm up: where each is on its curve today, end a pause, set the day.

Invariants: only operators see and change them: they are about mail of all accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.warmup import WarmupPlan, WarmupPlans
from mta.mail.warmup import WarmupDay


@dataclass(frozen=True, slots=True)
class WarmupState:
    """A plan, the day that it is on, and the one that follows if it ends as it is now. ``latest``: the last day with
    mail; None if nothing was sent yet."""

    plan: WarmupPlan
    latest: WarmupDay | None
    today: date

    @property
    def day(self) -> WarmupDay | None:
        """Today, if there was mail."""
        return self.latest if self.latest and self.latest.day == self.today else None

    @property
    def step(self) -> int:
        return self.day.step if self.day else self.plan.step_on(self.today, self.latest)

    @property
    def planned(self) -> int | None:
        """Recipients that today allows; None: the source is warm."""
        return self.plan.planned(self.step)

    @property
    def tomorrow(self) -> int | None:
        """Recipients planned for the next day on which there is mail."""
        if self.day is None:
            return self.planned
        return self.plan.planned(self.plan.step_on(self.today + timedelta(days=1), self.day))

    @property
    def used(self) -> int:
        return self.day.used if self.day else 0

    @property
    def paused(self) -> str:
        return self.day.paused if self.day else ""

    @property
    def text(self) -> str:
        if self.planned is None:
            return "warm"
        if self.latest is None:
            return "not begun"
        if self.day is None:
            return f"no mail today, last on {self.latest.day}"
        return f"paused until midnight UTC: {self.paused}" if self.paused else "warming up"


def state_of(plan: WarmupPlan, latest: WarmupDay | None) -> WarmupState:
    """Return where a plan is today. ``latest``: its last day with mail."""
    return WarmupState(plan, latest, datetime.now(UTC).date())


async def list_all(context: AdminContext) -> Sequence[WarmupState]:
    """Return all plans by source and provider. Raises Forbidden, StoreUnavailable."""
    context.require_operator()
    known = {(day.source, day.provider): day for day in await context.store.warmup_days.latest()}
    states = [state_of(plan, known.get((plan.source, plan.provider))) for plan in _plans(context)]
    return sorted(states, key=lambda each: (each.plan.source, each.plan.provider))


async def resume(context: AdminContext, source: str, provider: str, *, reason: str) -> None:
    """End today's pause: the source sends on, and today's bad answers are forgotten. Raises Forbidden, NotFound,
    InvalidValue, Refused, StoreUnavailable."""
    plan = find_plan(context, source, provider)
    reason = _required(reason)
    async with context.audited("warmup.resume", _subject(plan), reason=reason):
        if not await context.store.warmup_days.resume(source, provider, by=context.actor.name, reason=reason):
            raise Refused(f"{source} is not paused at {provider} today")


def planned_on(context: AdminContext, source: str, provider: str, day: int) -> int | None:
    """Return how many recipients a day of a curve, from 1, allows; None: the source would be warm. Raises Forbidden,
    NotFound, InvalidValue."""
    plan = find_plan(context, source, provider)
    last = len(plan.daily)
    if not 1 <= day <= last + 1:
        raise InvalidValue("day", f"curve {plan.curve} has {last} days; day {last + 1} makes the source warm")
    return plan.planned(day - 1)


async def set_day(context: AdminContext, source: str, provider: str, day: int, *, reason: str) -> None:
    """Let today be this day of the curve, from 1; the day after the last one makes the source warm. Raises Forbidden,
    NotFound, InvalidValue, StoreUnavailable."""
    planned, plan = planned_on(context, source, provider, day), find_plan(context, source, provider)
    reason = _required(reason)
    async with context.audited("warmup.set", _subject(plan), reason=reason) as entry:
        before = next(each for each in await list_all(context) if each.plan == plan)
        entry.before.update(day=before.step + 1)
        entry.after.update(day=day, planned=planned)
        await context.store.warmup_days.set_step(source, provider, day - 1, by=context.actor.name, reason=reason)


def find_plan(context: AdminContext, source: str, provider: str) -> WarmupPlan:
    """Return the plan of a source at a provider group. Raises Forbidden, NotFound."""
    context.require_operator()
    plans = _plans(context)
    for plan in plans:
        if (plan.source, plan.provider) == (source, provider):
            return plan
    names = ", ".join(sorted({plan.provider for plan in plans if plan.source == source})) or "none"
    raise NotFound(f"{source} does not warm up at {provider!r}; it does at: {names}")


def _plans(context: AdminContext) -> Sequence[WarmupPlan]:
    settings = context.settings
    return WarmupPlans(settings.shaping, SourcePools(settings.egress)).all()


def _subject(plan: WarmupPlan) -> str:
    return f"{plan.source} at {plan.provider}"


def _required(reason: str) -> str:
    if not (reason := reason.strip()):
        raise InvalidValue("reason", "say why")
    return reason
