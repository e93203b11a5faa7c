"""Let sources that warm up send what their plans allow: look up what must be known first, take, give back, count.

    placed: is today's volume, and whether the recipients have shown interest lately, known? ▶ else look up, place again
    a source is chosen: only those with room take part ▶ before the attempt: taken ▶ after it: counted, or given back

Invariants: a job that waits for a look-up is here, and nowhere else. While the database cannot be asked, mail waits
whose pool has a source that warms up.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from mta.delivery.egress.pools import SourcePool
from mta.delivery.egress.sources import EgressSource
from mta.delivery.egress.warmup import WarmupPlan, WarmupPlans
from mta.mail.delivery import Delivered, Outcome
from mta.mail.message import Stream
from mta.observe.metrics import Metrics
from mta.queue.active_queue import Job
from mta.queue.outcome import Decision
from mta.store.journal.recipient_activity import RecipientActivity
from mta.store.postgres.errors import StoreUnavailable
from mta.store.reputation.warmup import WarmupDays
from policy.reputation.breaker import is_against_us

AT_ONCE = 500  # jobs looked up together


class WarmupWait(Exception):
    """All sources that mail may leave from warm up, and have no room for it before ``seconds`` have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


@dataclass(slots=True)
class WarmupTicket:
    """Recipients taken of a plan for one attempt; without a plan nothing is counted."""

    days: WarmupDays | None = None
    plan: WarmupPlan | None = None
    day: date | None = None
    number: int = 0

    def cancel(self) -> None:
        """Give everything back: nothing was sent."""
        if self.days is not None and self.plan is not None:
            self.days.give_back(self.plan, self.number, self.day)

    def settle(self, decision: Decision) -> None:
        """Count the answers; give back what did not get as far as a transaction."""
        if self.days is None or self.plan is None:
            return
        sent = sum(not each.result.stage.is_connection for each in decision.outcomes)
        if unsent := self.number - sent:
            self.days.give_back(self.plan, unsent, self.day)
        reached = decision.attempt.host is not None
        bad = sum(reached and is_bad(each) for each in decision.outcomes)
        self.days.count(self.plan, good=max(0, sent - bad), bad=bad)


NO_TICKET = WarmupTicket()


class WarmupGate:
    """The plans of this worker. ``place``: puts a job into a ready queue again. ``spawn``: runs a task."""

    def __init__(
        self,
        days: WarmupDays,
        activity: RecipientActivity,
        metrics: Metrics,
        place: Callable[[Job], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._days, self._activity, self._metrics = days, activity, metrics
        self._place, self._spawn = place, spawn
        self._waiting: list[Job] = []
        self._asked: dict[tuple[str, str], WarmupPlan] = {}
        self._running = False
        self.plans = WarmupPlans.none()

    def must_look_up(self, job: Job, pool: SourcePool, provider: str) -> bool:
        """Return whether a job has to wait for a look-up, after which it is placed again."""
        plans = [plan for source in pool.sources if (plan := self.plans.of(source.name, provider))]
        if not plans:
            return False
        if job.delivery.stream is Stream.TRANSACTIONAL:
            job.engaged = True  # the recipient has just asked for it
        unknown = {(plan.source, plan.provider): plan for plan in plans if not self._days.knows(plan)}
        if job.engaged is not None and not unknown:
            return False
        self._waiting.append(job)
        self._asked |= unknown
        if not self._running:
            self._running = True
            self._spawn(self._look_up())
        return True

    def with_room(self, sources: Sequence[EgressSource], provider: str, job: Job) -> list[EgressSource]:
        """Return the sources that may take a job: those without a plan, and those whose day has room. Raises
        WarmupWait if there is none."""
        number, engaged = len(job.delivery.recipients), job.engaged is True
        waits: list[float] = []
        able: list[EgressSource] = []
        for source in sources:
            plan = self.plans.of(source.name, provider)
            wait = self._days.wait(plan, number, engaged=engaged) if plan else 0.0
            if wait:
                waits.append(wait)
            else:
                able.append(source)
        if not able:
            self._metrics.warmup_waits.inc()
            raise WarmupWait(min(waits))
        return able

    def take(self, source: str, provider: str, job: Job) -> WarmupTicket | None:
        """Take a job's recipients of the plan of its path; None if the day has no room for them any more."""
        plan = self.plans.of(source, provider)
        if plan is None:
            return NO_TICKET
        number = len(job.delivery.recipients)
        day = self._days.take(plan, number, engaged=job.engaged is True)
        return None if day is None else WarmupTicket(self._days, plan, day, number)

    def pop_all(self) -> list[Job]:
        """Remove and return what waits for a look-up."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def _look_up(self) -> None:
        """Look up for all that waits, and place it again."""
        try:
            while self._waiting:
                jobs, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                asked, self._asked = list(self._asked.values()), {}
                try:
                    await self._days.ask(asked, max(len(job.delivery.recipients) for job in jobs))
                    await self._find_engaged([job for job in jobs if job.engaged is None])
                finally:
                    for job in jobs:
                        self._place(job)
        finally:
            self._running = False

    async def _find_engaged(self, jobs: Sequence[Job]) -> None:
        """Find out whose recipients have shown interest lately; if that cannot be asked, they have not."""
        mailboxes = {(job.delivery.account_id, each.address) for job in jobs for each in job.delivery.recipients}
        try:
            engaged = await self._activity.engaged(list(mailboxes)) if mailboxes else frozenset()
        except StoreUnavailable:
            engaged = frozenset()
        for job in jobs:
            account = job.delivery.account_id
            job.engaged = all((account, each.address) in engaged for each in job.delivery.recipients)


def is_bad(outcome: Outcome) -> bool:
    """Return whether an answer is against us as a sender: reputation, policy, too much mail."""
    return not isinstance(outcome, Delivered) and is_against_us(outcome.classification, outcome.result.reply)
