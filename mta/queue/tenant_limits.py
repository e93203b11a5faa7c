"""Limits of accounts and mailings at a site (``[[shaping.tenants]]``), over all sources, beside those of the path, and
limits that shaping actions set for an account, a mailing, a domain or a stream.

A connection of a tenant is an attempt under way: an idle connection is no one's. A job whose tenant has none free, or
no start, does not keep the others of its ready queue: it waits aside until it has. Only a few wait so; the others go
back to the store, due when the tenant's rate will have come to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from time import monotonic

import orjson

from config.schema import ShapingSettings, TenantShaping
from config.types import rate_limit
from mta.delivery.egress.actions import ActionsInForce
from mta.mail.shaping_action import ActionScope, Place, ShapingAction
from mta.queue.active_queue import Job
from mta.queue.dsn import AccountLookup
from mta.queue.limit_leasing import LimitLeasing
from mta.queue.ready_queue import ReadyQueue
from mta.queue.requeue import Requeue

ASIDE = 50  # jobs of a tenant that wait aside in a worker
LONGEST_WAIT = 3600.0  # seconds until what has gone back to the store is due
KNOWN = 20_000  # tenants remembered
LONGEST_TIMER = 3600.0  # seconds; later ends are looked for again then
OF_ACTIONS = "action:"  # how the scopes of their limits begin; the fields follow, as JSON
EACH = "*"  # account, or mailing


class Tenant:
    """Mail with limits of its own: of an account, or one of its mailings, at a site, or in the scope of ``actions``.
    ``pace``: starts in a second that its limits are good for."""

    def __init__(self, scope: str, leasing: LimitLeasing, resume: Callable[[Tenant], None]) -> None:
        self.permits = leasing.permits(scope)
        self.permits.needed = self._needed
        self.permits.changed = partial(resume, self)
        self.actions: Sequence[ShapingAction] = ()
        self.pace = 1.0
        self.timed = False
        self._booked_until = 0.0
        self._queues: set[ReadyQueue] = set()

    def limit(self, connections: int | None, message_rates: Sequence[str]) -> None:
        """Set the limits."""
        self.permits.limit(connections, message_rates)
        rates = [most / seconds for most, seconds in map(rate_limit, message_rates)]
        self.pace = min([*rates, *([] if connections is None else [float(connections)])], default=inf)

    def follow(self, actions: Sequence[ShapingAction]) -> None:
        """Let the limits of these actions hold, all together."""
        if actions != self.actions:
            self.actions = actions
            connections = [each.connections for each in actions if each.connections is not None]
            self.limit(min(connections, default=None), [rate for each in actions for rate in each.message_rates])

    @property
    def aside(self) -> int:
        """How many jobs wait aside."""
        self._queues = {queue for queue in self._queues if queue.aside.get(self)}
        return sum(len(queue.aside[self]) for queue in self._queues)

    def may_start(self, now: float) -> bool:
        connections = self.permits.connections
        has_room = connections is None or connections.running < connections.usable
        return has_room and self.permits.startable(now) > 0

    def set_aside(self, queue: ReadyQueue, job: Job) -> None:
        queue.set_aside(self, job)
        self._queues.add(queue)

    def resume(self, now: float) -> Sequence[ReadyQueue]:
        """Let as many jobs go on as may start; return their ready queues."""
        connections, resumed = self.permits.connections, []
        free = self.permits.startable(now)
        if connections is not None:
            free = min(free, connections.usable - connections.running)
        for queue in list(self._queues):
            if free > 0 and (number := queue.resume(self, free)):
                free -= number
                resumed.append(queue)
        return resumed

    def book(self, now: float) -> float:
        """Return the seconds after which one more job that waits in the store is due."""
        self._booked_until = max(self._booked_until, now + ASIDE / self.pace) + 1 / self.pace
        return min(self._booked_until - now, LONGEST_WAIT)

    @property
    def is_idle(self) -> bool:
        return not self.aside and not any(share.held for share in self.permits.shares)

    def _needed(self, _: float) -> tuple[int, int]:
        return self.aside, self.aside


class TenantLimits:
    """The tenants of this worker. ``start``: serves a ready queue; set by the runners."""

    def __init__(
        self, shaping: ShapingSettings, accounts: AccountLookup, leasing: LimitLeasing, requeue: Requeue
    ) -> None:
        self._accounts, self._leasing, self._requeue = accounts, leasing, requeue
        self.start: Callable[[ReadyQueue], None] = lambda _: None
        self._known: dict[str, Tenant] = {}
        self._found: dict[tuple[int, str | None, str, str], Sequence[Tenant]] = {}
        self._actions = ActionsInForce()
        self._limited: dict[ActionScope, Tenant] = {}  # by actions
        self._end: asyncio.TimerHandle | None = None  # of the action that ends first
        self.configure(shaping)

    def configure(self, shaping: ShapingSettings) -> None:
        """Take over reloaded limits."""
        self._rules = shaping.tenants
        self._found.clear()

    def take_over(self, actions: ActionsInForce) -> None:
        """Let other actions be in force. What waits for one that has ended goes on."""
        self._actions = actions
        self._follow_actions()

    def close(self) -> None:
        """Look at no action any more."""
        if self._end is not None:
            self._end.cancel()
        self._end = None

    def of(self, place: Place, provider: str) -> Sequence[Tenant]:
        """Return whose limits hold for mail at ``place``, at a site of this provider."""
        if not self._actions.limits_mail:
            return self._configured(place, provider)
        now = datetime.now(UTC)
        return [*self._configured(place, provider), *self._limited_by_actions(place, now)]

    def _configured(self, place: Place, provider: str) -> Sequence[Tenant]:
        if not self._rules or not place.account_id:
            return ()
        key = place.account_id, place.mailing, place.site, provider
        found = self._found.get(key)
        if found is None:
            self._forget_idle()
            found = self._found[key] = list(self._look_up(place, provider))
        return found

    def admit(self, queue: ReadyQueue, job: Job) -> Sequence[Tenant] | None:
        """Return the tenants of a job, if it may start; None: it waits."""
        if job.place is None:
            return ()
        place = job.place._replace(source=queue.path.source.name)
        tenants, now = self.of(place, queue.path.provider), monotonic()
        for tenant in tenants:
            if not tenant.may_start(now):
                self._wait(tenant, queue, job, now)
                return None
        return tenants

    def ended(self, tenants: Sequence[Tenant]) -> None:
        """An attempt of these tenants has ended: others may begin."""
        for tenant in tenants:
            self._resume(tenant)
            connections = tenant.permits.connections
            if connections is not None and connections.is_over:
                self._leasing.need(tenant.permits)

    def _wait(self, tenant: Tenant, queue: ReadyQueue, job: Job, now: float) -> None:
        if tenant.aside >= ASIDE:
            seconds = tenant.book(now)
            if tenant.actions:
                self._requeue.pause([job], max(tenant.actions, key=lambda each: each.expires_at), seconds)
            else:
                self._requeue.add([job], timedelta(seconds=seconds))
            return
        tenant.set_aside(queue, job)
        self._follow_up(tenant, now)

    def _resume(self, tenant: Tenant) -> None:
        """Serve what waits aside, as far as the limits allow it now, and see to the rest."""
        now = monotonic()
        for queue in tenant.resume(now):
            self.start(queue)
        if tenant.aside:
            self._follow_up(tenant, now)

    def _follow_up(self, tenant: Tenant, now: float) -> None:
        """Ask for more, and come back when a used start is free again."""
        if tenant.permits.is_short(now):
            self._leasing.need(tenant.permits)
        wait = tenant.permits.wait(now)
        if 0 < wait < LONGEST_WAIT and not tenant.timed:
            tenant.timed = True
            asyncio.get_running_loop().call_later(wait, self._time_over, tenant)

    def _time_over(self, tenant: Tenant) -> None:
        tenant.timed = False
        self._resume(tenant)

    def _look_up(self, place: Place, provider: str) -> Iterator[Tenant]:
        account = self._accounts.by_id(place.account_id)
        name = account.name if account else None
        of_account = [rule for rule in self._rules if rule.mailing is None and _fits(rule, name, place, provider)]
        of_mailing = [rule for rule in self._rules if rule.mailing and _fits(rule, name, place, provider)]
        if of_account:
            yield self._tenant(f"account:{place.account_id}:{place.site}", of_account)
        if of_mailing:
            yield self._tenant(f"mailing:{place.account_id}:{place.site}/{place.mailing}", of_mailing)

    def _tenant(self, scope: str, rules: Sequence[TenantShaping]) -> Tenant:
        tenant = self._known.get(scope)
        if tenant is None:
            tenant = self._known[scope] = Tenant(scope, self._leasing, self._resume)
        connections = [rule.connections for rule in rules if rule.connections is not None]
        tenant.limit(min(connections, default=None), [rate for rule in rules for rate in rule.message_rates])
        return tenant

    def _limited_by_actions(self, place: Place, now: datetime) -> Iterator[Tenant]:
        for scope in self._actions.limited_scopes(place):
            if actions := self._actions.limits_in(scope, now):
                tenant = self._limited.get(scope)
                if tenant is None:
                    name = orjson.dumps(scope.fields).decode()
                    tenant = self._limited[scope] = Tenant(f"{OF_ACTIONS}{name}", self._leasing, self._resume)
                    self._look_again(actions, now)
                tenant.follow(actions)
                yield tenant

    def _follow_actions(self) -> None:
        """Let what the actions in force say hold for what waits, and look again when one of them ends."""
        self.close()
        now = datetime.now(UTC)
        for scope, tenant in list(self._limited.items()):
            tenant.follow(actions := self._actions.limits_in(scope, now))
            self._resume(tenant)
            self._leasing.need(tenant.permits)
            self._look_again(actions, now)
            if not actions and tenant.is_idle:
                del self._limited[scope]

    def _look_again(self, actions: Sequence[ShapingAction], now: datetime) -> None:
        """Come back when one of these ends, if not before."""
        if actions:
            loop, end = asyncio.get_running_loop(), min(each.expires_at for each in actions)
            at = loop.time() + min((end - now).total_seconds(), LONGEST_TIMER)
            if self._end is None or at < self._end.when():
                self.close()
                self._end = loop.call_at(at, self._follow_actions)

    def _forget_idle(self) -> None:
        if len(self._found) < KNOWN:
            return
        self._found.clear()
        self._known = {scope: tenant for scope, tenant in self._known.items() if not tenant.is_idle}


def _fits(rule: TenantShaping, account: str | None, place: Place, provider: str) -> bool:
    return (
        rule.account in (EACH, account)
        and rule.provider in (None, provider)
        and (rule.mailing is None or (place.mailing is not None and rule.mailing in (EACH, place.mailing)))
    )
