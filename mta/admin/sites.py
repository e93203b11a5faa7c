"""All that is known of a site: its limits and the lines that set them, what lowers or stops it now, what waits for it.

The figures of the configuration need no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from config.schema import PathLimits, Settings, Shaping, TenantShaping
from config.shaping_origin import LIMITS, ShapingOrigins
from mta.admin.backoffs import MAX_DESTINATIONS, sites_of
from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.admin.warmup import WarmupState, state_of
from mta.delivery.egress.actions import ActionsInForce
from mta.delivery.egress.paths import PathShaping
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.sources import EgressSource
from mta.delivery.egress.warmup import WarmupPlan, WarmupPlans
from mta.delivery.mx import Resolver
from mta.delivery.route import Route
from mta.mail.shaping_action import ActionScope, Effect, ShapingAction
from mta.mail.warmup import WarmupDay
from mta.store.journal.events import Event
from mta.store.queue.backoffs import PathBackoff
from mta.store.queue.egress_limits import LimitInUse
from mta.store.queue.queue import By, Group
from mta.store.store import Store

REPLIES = 10
DESTINATIONS = 5  # of a site, whose replies are looked for and that are shown


@dataclass(frozen=True, slots=True)
class SiteName:
    """A site and its limits. ``domain``: that it was asked for by, None if by its name. ``why``: how it was found."""

    site: str
    shaping: Shaping
    why: str
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class ExplainedPath:
    """What the configuration says of a path: the limits, where each is set, and how the source warms up."""

    source: EgressSource
    limits: PathLimits
    origins: Mapping[str, str]
    plan: WarmupPlan | None


@dataclass(frozen=True, slots=True)
class SiteNow:
    """What the database knows of a site. ``queued``: by destination, the largest first; None if not asked for.
    ``limits``: who holds which share of them. ``workers``: by lease."""

    actions: Sequence[ShapingAction]
    backoffs: Sequence[PathBackoff]
    replies: Sequence[Event]
    names: Mapping[int, str]
    warmup: Mapping[str, WarmupDay]
    queued: Sequence[Group] | None
    limits: Sequence[LimitInUse]
    workers: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class ExplainedSite:
    """A site with all that holds for it."""

    name: SiteName
    paths: Sequence[ExplainedPath]
    tenants: Sequence[TenantShaping]
    now: SiteNow


@dataclass(frozen=True, slots=True)
class PathHindrance:
    """What lowers or stops a path now. ``action``: None for a backoff."""

    stops: bool
    until: datetime
    reason: str
    action: ShapingAction | None = None


async def site_of_domain(settings: Settings, domain: str) -> SiteName:
    """Return the site that mail to a domain goes to."""
    route = await Resolver(settings).route(domain)
    if isinstance(route, Route):
        return SiteName(route.site, route.shaping, f"by {route.hosts[0].name}", domain)
    for provider in settings.shaping.providers:
        if domain in provider.domains:
            return SiteName(provider.name, provider, "by its name", domain)
    return SiteName(domain, settings.shaping.default, f"no route: {route}", domain)


async def explain(
    context: AdminContext,
    domain: str,
    config_file: Path | None,
    *,
    source: str | None = None,
    account: str | None = None,
) -> ExplainedSite:
    """Return what holds for mail to a domain. ``source``, ``account``: only what concerns these.

    Raises Forbidden, InvalidValue, StoreUnavailable.
    """
    context.require_operator()
    settings, name = context.settings, await site_of_domain(context.settings, domain)
    return ExplainedSite(
        name,
        paths_to(settings, name.shaping, config_file, source),
        tenants_of(settings, name.shaping, account),
        await site_now(settings, context.store, name, count=False),
    )


def provider_by_name(settings: Settings, name: str) -> SiteName | None:
    """Return the site of a provider of the configuration."""
    for provider in settings.shaping.providers:
        if provider.name == name:
            return SiteName(name, provider, "a provider of the configuration")
    return None


def paths_to(
    settings: Settings, shaping: Shaping, config_file: Path | None, only: str | None = None
) -> list[ExplainedPath]:
    """Return the path from each source, or from the source ``only``. ``config_file``: None for what is shipped.

    Raises InvalidValue if there is no such source.
    """
    pools = SourcePools(settings.egress)
    if only is not None and only not in (names := [each.name for each in pools.sources]):
        raise InvalidValue("source", f"there is no source {only!r}; there are {', '.join(names)}")
    limits, origins = PathShaping(settings.shaping, pools), ShapingOrigins(config_file)
    plans = WarmupPlans(settings.shaping, pools)
    found = []
    for source in pools.sources:
        if only in (None, source.name):
            overrides = [
                (n, each) for n, each in enumerate(settings.shaping.sources)
                if each.provider in (None, shaping.name)
                and (each.source == source.name or each.pool in pools.of_source(source.name))
            ]  # fmt: skip
            set_by = {key: origins.of(key, shaping, overrides) for key in LIMITS}
            plan = plans.of(source.name, shaping.name)
            found.append(ExplainedPath(source, limits.limits(source, shaping), set_by, plan))
    return found


def tenants_of(settings: Settings, shaping: Shaping, account: str | None = None) -> list[TenantShaping]:
    """Return the limits per account and mailing that hold at a site."""
    return [
        each for each in settings.shaping.tenants
        if each.provider in (None, shaping.name) and (account is None or each.account in ("*", account))
    ]  # fmt: skip


async def site_now(settings: Settings, store: Store, name: SiteName, *, count: bool) -> SiteNow:
    """Return what the database knows. ``count``: also what is queued. Raises StoreUnavailable."""
    queued = await _queued(settings, store, name) if count else None
    domains = [name.domain] if name.domain else [group.key for group in (queued or ())[:DESTINATIONS]]
    days = {day.source: day for day in await store.warmup_days.latest() if day.provider == name.shaping.name}
    return SiteNow(
        [each for each in await store.shaping_actions.list() if _may_concern(each, name)],
        [each for each in await store.backoffs.list() if each.site == name.site],
        await store.events.replies_of(domains, REPLIES),
        await store.accounts.names_by_id(),
        days,
        queued,
        [each for each in await store.egress_limits.at(name.site) if _limits_mail_to(each, name)],
        await store.egress_limits.workers(),
    )


async def _queued(settings: Settings, store: Store, name: SiteName) -> Sequence[Group]:
    """Return what waits for the site, by destination. Of many destinations the largest are looked up only."""
    groups = (await store.queue.summary(By.DESTINATION))[:MAX_DESTINATIONS]
    sites = await sites_of(settings, {group.key for group in groups})
    known = dict.fromkeys(name.shaping.domains, name.site) | sites
    return [group for group in groups if known.get(group.key, group.key) == name.site]


def _may_concern(action: ShapingAction, name: SiteName) -> bool:
    return action.scope.site in (None, name.site) and action.scope.domain in (None, name.domain)


def _limits_mail_to(limit: LimitInUse, name: SiteName) -> bool:
    kind, _, fields = limit.key.scope.partition(":")
    if kind != "action":
        return True
    scope = ActionScope.read(orjson.loads(fields))
    return scope.site in (None, name.site) and scope.domain in (None, name.domain)


def told_scope(scope: str, names: Mapping[int, str]) -> str:
    """Return in words what a limit is for. ``names``: of accounts."""
    kind, _, rest = scope.partition(":")
    if kind == "action":
        fields = orjson.loads(rest)
        if (number := fields.get("account_id")) in names:
            fields["account_id"] = names[number]
        return "action on " + " x ".join(f"{key.removesuffix('_id')} {value}" for key, value in fields.items())
    of, _, site = rest.partition(":")
    if kind == "path":
        return f"source {of}"
    account = f"account {names.get(int(of), of)}"
    return f"mailing {site.partition('/')[2]} of {account}" if kind == "mailing" else account


def hindrances(source: str, site: str, now: SiteNow, domain: str | None = None) -> list[PathHindrance]:
    """Return what is lower now than the configuration says, or stops the path. ``domain``: also what stops all mail to
    this domain."""
    pools = {each.scope.pool for each in now.actions if each.scope.pool}
    lowered = ActionsInForce(now.actions).limiting(source, site, pools, datetime.now(UTC))
    whole = ActionScope(domain=domain)
    paused = [
        each for each in now.actions
        if each.effect is Effect.PAUSE
        and (each.scope.covers(source, site, pools) or (domain is not None and each.scope == whole))
    ]  # fmt: skip
    return [
        *(PathHindrance(False, each.expires_at, each.reason, each) for each in lowered),
        *(PathHindrance(True, each.expires_at, each.reason, each) for each in paused),
        *(PathHindrance(True, each.until, each.reply) for each in now.backoffs if each.source == source),
    ]


def warming_up(plan: WarmupPlan, now: SiteNow) -> WarmupState | None:
    """Return where a source is on its curve today, None if it has warmed up."""
    state = state_of(plan, now.warmup.get(plan.source))
    return None if state.planned is None else state
