"""All that is known of a site: its limits and the lines that set them, what lowers or stops it now, what waits for it.

The figures of the file need no database. What is in force, what waits and the last replies come from it, if it can be
reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta.cli.context import account_names, open_store
from mta.cli.options import find_config, parse_domain
from mta.cli.output import fail, moment, plain, relative, span
from mta.cli.queue.backoffs import MAX_DESTINATIONS, sites_of
from mta.cli.shaping.actions import effect_of, fields, scope_of

if TYPE_CHECKING:
    from config.schema import PathLimits, Settings, Shaping, TenantShaping
    from mta.delivery.egress.sources import EgressSource
    from mta.delivery.egress.warmup import WarmupPlan
    from mta.mail.shaping_action import ShapingAction
    from mta.mail.warmup import WarmupDay
    from mta.store.journal.events import Event
    from mta.store.queue.backoffs import PathBackoff
    from mta.store.queue.queue import Group
    from mta.store.store import Store

REPLIES = 10
DESTINATIONS = 5  # of a site, whose replies are looked for and that are shown
_SECONDS = frozenset({"idle", "backoff", "expire_after", "retry_schedule"})


@dataclass(frozen=True, slots=True)
class SiteName:
    """A site and its limits. ``domain``: that it was asked for by, None if by its name. ``why``: how it was found."""

    site: str
    shaping: Shaping
    why: str
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class _Path:
    """What the file says of a path: the limits, where each is set, and the plan by which the source warms up."""

    source: EgressSource
    limits: PathLimits
    origins: Mapping[str, str]
    plan: WarmupPlan | None


@dataclass(frozen=True, slots=True)
class _Now:
    """What the database knows of a site. ``queued``: by destination, the largest first; None if not asked for."""

    actions: Sequence[ShapingAction]
    backoffs: Sequence[PathBackoff]
    replies: Sequence[Event]
    names: Mapping[int, str]
    warmup: Mapping[str, WarmupDay]
    queued: Sequence[Group] | None


@dataclass(frozen=True, slots=True)
class SiteView:
    """``now``: None if the database cannot be asked, for the reason ``unknown``."""

    name: SiteName
    paths: Sequence[_Path]
    tenants: Sequence[TenantShaping]
    now: _Now | None
    unknown: str


async def site_of_domain(settings: Settings, domain: str) -> SiteName:
    """Return the site that mail to a domain goes to."""
    from mta.delivery.mx import Resolver
    from mta.delivery.route import Route

    route = await Resolver(settings).route(domain)
    if isinstance(route, Route):
        return SiteName(route.site, route.shaping, f"by {route.hosts[0].name}", domain)
    for provider in settings.shaping.providers:
        if domain in provider.domains:
            return SiteName(provider.name, provider, "by its name", domain)
    return SiteName(domain, settings.shaping.default, f"no route: {route}", domain)


async def site_by_name(settings: Settings, name: str) -> SiteName:
    """Return the provider of this name, or the site that a domain of this name leads to; end the command if the name
    is neither."""
    for provider in settings.shaping.providers:
        if provider.name == name:
            return SiteName(name, provider, "a provider of the configuration")
    if "." not in name:
        names = ", ".join(provider.name for provider in settings.shaping.providers)
        fail(f"{name!r} is no message, domain or provider; providers are {names}", status=2)
    return await site_of_domain(settings, parse_domain(name))


async def look(
    settings: Settings,
    config: Path | None,
    name: SiteName,
    source: str | None = None,
    account: str | None = None,
    *,
    count: bool = False,
) -> SiteView:
    """Gather all about a site. ``source``, ``account``: only what concerns these. ``count``: also what is queued."""
    tenants = [each for each in settings.shaping.tenants if _concerns(each, name.shaping, account)]
    paths = list(_paths(settings, name.shaping, source, config))
    now, unknown = await _now(settings, name, count=count)
    return SiteView(name, paths, tenants, now, unknown)


def _paths(settings: Settings, shaping: Shaping, only: str | None, config: Path | None) -> Iterator[_Path]:
    from config.shaping_origin import LIMITS, ShapingOrigins
    from mta.delivery.egress.paths import PathShaping
    from mta.delivery.egress.pools import SourcePools
    from mta.delivery.egress.warmup import WarmupPlans

    pools = SourcePools(settings.egress)
    if only is not None and only not in (names := [each.name for each in pools.sources]):
        fail(f"there is no source {only!r}; there are {', '.join(names)}", status=2)
    limits, origins = PathShaping(settings.shaping, pools), ShapingOrigins(find_config(config))
    plans = WarmupPlans(settings.shaping, pools)
    for source in pools.sources:
        if only in (None, source.name):
            overrides = [
                (n, each) for n, each in enumerate(settings.shaping.sources)
                if each.provider in (None, shaping.name)
                and (each.source == source.name or each.pool in pools.of_source(source.name))
            ]  # fmt: skip
            set_by = {key: origins.of(key, shaping, overrides) for key in LIMITS}
            yield _Path(source, limits.limits(source, shaping), set_by, plans.of(source.name, shaping.name))


def _concerns(tenant: TenantShaping, shaping: Shaping, account: str | None) -> bool:
    return tenant.provider in (None, shaping.name) and (account is None or tenant.account in ("*", account))


async def _now(settings: Settings, name: SiteName, *, count: bool) -> tuple[_Now | None, str]:
    """Return what the database knows, or why it cannot be asked."""
    from mta.store.postgres.embedded import EmbeddedError
    from mta.store.postgres.errors import SchemaError, StoreUnavailable
    from mta.store.postgres.secrets import SecretError

    async def ask(store: Store) -> _Now:
        queued = await _queued(settings, store, name) if count else None
        domains = [name.domain] if name.domain else [group.key for group in (queued or ())[:DESTINATIONS]]
        days = {day.source: day for day in await store.warmup_days.latest() if day.provider == name.shaping.name}
        return _Now(
            [each for each in await store.shaping_actions.list() if _may_concern(each, name)],
            [each for each in await store.backoffs.list() if each.site == name.site],
            await store.events.replies_of(domains, REPLIES),
            await account_names(store),
            days,
            queued,
        )

    try:
        async with open_store(settings) as store:
            return await ask(store), ""
    except (EmbeddedError, SchemaError, SecretError, StoreUnavailable, OSError) as error:
        return None, str(error)


async def _queued(settings: Settings, store: Store, name: SiteName) -> Sequence[Group]:
    """Return what waits for the site, by destination. Of many destinations the largest are looked up only."""
    from mta.store.queue.queue import By

    groups = (await store.queue.summary(By.DESTINATION))[:MAX_DESTINATIONS]
    sites = await sites_of(settings, {group.key for group in groups})
    known = dict.fromkeys(name.shaping.domains, name.site) | sites
    return [group for group in groups if known.get(group.key, group.key) == name.site]


def _may_concern(action: ShapingAction, name: SiteName) -> bool:
    return action.scope.site in (None, name.site) and action.scope.domain in (None, name.domain)


# --- for people


def tell(view: SiteView) -> Iterator[tuple[str, str]]:
    """Yield the lines about a site, each with its style."""
    name, provider = view.name, view.name.shaping.name
    group = f"provider {provider}" if provider != "default" else "no provider: shaping.default"
    if name.domain is None:
        yield f"Site {name.site}, {group}", "bold"
    else:
        yield f"{name.domain} belongs to site {name.site} ({name.why}), {group}", "bold"
    if view.now is not None and view.now.queued is not None:
        yield from _tell_queued(view.now.queued)
    for path in view.paths:
        yield "", ""
        yield f"From source {path.source.name}", "bold"
        for key, origin in path.origins.items():
            value = _value(key, getattr(path.limits, key))
            yield f"  {key:28} {value:24} {origin}", "dim" if origin == "built in" else ""
        yield from _binding(path, name.site, view.now)
    if view.tenants:
        yield "", ""
        yield "Per account or mailing", "bold"
    for tenant in view.tenants:
        of = f"mailing {tenant.mailing} of account {tenant.account}" if tenant.mailing else f"account {tenant.account}"
        figures = [f"{tenant.connections} connections"] if tenant.connections is not None else []
        yield f"  {of}: {', '.join([*figures, *tenant.message_rates])}", ""
    yield "", ""
    if view.now is None:
        yield f"Actions, backoffs and replies are not known: {view.unknown}", "yellow"
        return
    yield from _tell_now(view.now)


def _tell_queued(queued: Sequence[Group]) -> Iterator[tuple[str, str]]:
    counts = {key: sum(getattr(group, key) for group in queued) for key in ("recipients", "due", "leased", "held")}
    if not counts["recipients"]:
        yield "  nothing is queued", "dim"
        return
    oldest = relative(min(group.oldest for group in queued), datetime.now(UTC))
    some = [f"{group.key} {group.recipients}" for group in queued[:DESTINATIONS]]
    more = [f"{len(queued) - DESTINATIONS} more"] if len(queued) > DESTINATIONS else []
    states = f"{counts['due']} due, {counts['leased']} leased, {counts['held']} held"
    yield f"  {counts['recipients']} recipients queued: {states}; oldest {oldest}", ""
    yield f"  by domain: {', '.join(some + more)}", "dim"


def _binding(path: _Path, site: str, now: _Now | None) -> Iterator[tuple[str, str]]:
    """Yield what is lower now than the file says, or stops the path."""
    from mta.delivery.egress.actions import ActionsInForce

    if path.plan is not None:
        yield from _warming(path.plan, now)
    if now is None:
        return
    today, source = datetime.now(UTC), path.source.name
    in_force = ActionsInForce(now.actions)
    pools = {each.scope.pool for each in now.actions if each.scope.pool}
    for action in in_force.limiting(source, site, pools, today):
        yield (
            f"  lowered to {effect_of(action).removeprefix('limit ')} by action {action.id}: {action.reason}",
            "yellow",
        )
    for action in now.actions:
        if action.effect.value == "pause" and action.scope.covers(source, site, pools):
            yield f"  paused until {moment(action.expires_at)} UTC by action {action.id}: {action.reason}", "red"
    for backoff in now.backoffs:
        if backoff.source == source:
            yield f"  in backoff until {moment(backoff.until)} UTC after {_line(backoff.reply)}", "red"


def _warming(plan: WarmupPlan, now: _Now | None) -> Iterator[tuple[str, str]]:
    today = datetime.now(UTC).date()
    last = now.warmup.get(plan.source) if now else None
    if now is None:
        yield f"  warms up by curve {plan.curve} (mta warmup)", ""
        return
    day = last if last and last.day == today else None
    step = day.step if day else plan.step_on(today, last)
    planned = plan.planned(step)
    if planned is None:
        return
    sent = f"{day.used if day else 0} of {planned} recipients sent today"
    paused = f"; paused: {day.paused}" if day and day.paused else ""
    yield f"  warms up, day {step + 1} of {len(plan.daily)}: {sent}{paused}", "yellow"


def _tell_now(now: _Now) -> Iterator[tuple[str, str]]:
    yield "Actions in force", "bold"
    for action in now.actions:
        scope, until = scope_of(action, now.names), moment(action.expires_at)
        yield f"  {action.id} {action.name}: {effect_of(action)}, {scope}, until {until} UTC: {action.reason}", "yellow"
    if not now.actions:
        yield "  none", "dim"
    yield "", ""
    yield f"Last replies (UTC, at most {REPLIES})", "bold"
    for event in now.replies:
        reply = " ".join(str(event.data[key]) for key in ("code", "status", "text") if event.data.get(key))
        yield f"  {moment(event.at)}  {event.kind}  {_line(reply)}", ""
    if not now.replies:
        yield "  none", "dim"


def _value(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(_value(key, each) for each in value) or "-"
    return span(value) if key in _SECONDS and isinstance(value, int | float) else str(value).lower()


def _line(text: str) -> str:
    return text.replace("\n", " / ")


# --- for programs


def as_fields(view: SiteView) -> dict[str, Any]:
    """Return a site for ``--json``."""
    made = {
        path.source.name: {
            key: {"value": getattr(path.limits, key), "set_by": origin} for key, origin in path.origins.items()
        }
        for path in view.paths
    }
    fields_now: dict[str, Any] = {"actions": None, "backoffs": None, "replies": None, "queued": None}
    if (now := view.now) is not None:
        fields_now = {
            "actions": [fields(each, now.names) for each in now.actions],
            "backoffs": plain(now.backoffs),
            "replies": [{"at": each.at, "kind": each.kind, **each.data} for each in now.replies],
            "queued": plain(now.queued),
        }
    return {
        "site": view.name.site,
        "provider": view.name.shaping.name,
        "sources": made,
        "tenants": [each.model_dump() for each in view.tenants],
        **fields_now,
    }
