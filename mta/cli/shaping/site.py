"""All that is known of a site: its limits and the lines that set them, what lowers or stops it now, what waits for it.

The figures of the file need no database. What is in force, what waits and the last replies come from it, if it can be
reached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta.cli.context import open_store
from mta.cli.options import find_config, parse_domain
from mta.cli.output import fail, moment, plain, relative
from mta.cli.shaping.actions import effect_of, fields, scope_of
from mta.mail.spans import span

if TYPE_CHECKING:
    from config.schema import Settings, TenantShaping
    from mta.admin.sites import ExplainedPath, SiteName, SiteNow
    from mta.delivery.egress.warmup import WarmupPlan
    from mta.store.queue.queue import Group

REPLIES = 10
DESTINATIONS = 5  # of a site, that are shown
_SECONDS = frozenset({"idle", "backoff", "expire_after", "retry_schedule"})


@dataclass(frozen=True, slots=True)
class SiteView:
    """``now``: None if the database cannot be asked, for the reason ``unknown``."""

    name: SiteName
    paths: Sequence[ExplainedPath]
    tenants: Sequence[TenantShaping]
    now: SiteNow | None
    unknown: str


async def site_by_name(settings: Settings, name: str) -> SiteName:
    """Return the provider of this name, or the site that a domain of this name leads to; end the command if the name
    is neither."""
    from mta.admin.sites import provider_by_name, site_of_domain

    if provider := provider_by_name(settings, name):
        return provider
    if "." not in name:
        names = ", ".join(each.name for each in settings.shaping.providers)
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
    from mta.admin.sites import paths_to, tenants_of

    paths = paths_to(settings, name.shaping, find_config(config), source)
    now, unknown = await _now(settings, name, count=count)
    return SiteView(name, paths, tenants_of(settings, name.shaping, account), now, unknown)


async def _now(settings: Settings, name: SiteName, *, count: bool) -> tuple[SiteNow | None, str]:
    """Return what the database knows, or why it cannot be asked."""
    from mta.admin.sites import site_now
    from mta.store.postgres.embedded import EmbeddedError
    from mta.store.postgres.errors import SchemaError, StoreUnavailable
    from mta.store.postgres.secrets import SecretError

    try:
        async with open_store(settings) as store:
            return await site_now(settings, store, name, count=count), ""
    except (EmbeddedError, SchemaError, SecretError, StoreUnavailable, OSError) as error:
        return None, str(error)


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


def _binding(path: ExplainedPath, site: str, now: SiteNow | None) -> Iterator[tuple[str, str]]:
    """Yield what is lower now than the file says, or stops the path."""
    from mta.admin.sites import hindrances

    if path.plan is not None:
        yield from _warming(path.plan, now)
    for each in hindrances(path.source.name, site, now) if now else ():
        until = moment(each.until)
        if each.action is None:
            yield f"  in backoff until {until} UTC after {_line(each.reason)}", "red"
        elif each.stops:
            yield f"  paused until {until} UTC by action {each.action.id}: {each.reason}", "red"
        else:
            lowered = effect_of(each.action).removeprefix("limit ")
            yield f"  lowered to {lowered} by action {each.action.id}: {each.reason}", "yellow"


def _warming(plan: WarmupPlan, now: SiteNow | None) -> Iterator[tuple[str, str]]:
    from mta.admin.sites import warming_up

    if now is None:
        yield f"  warms up by curve {plan.curve} (mta warmup)", ""
    elif today := warming_up(plan, now):
        paused = f"; paused: {today.paused}" if today.paused else ""
        sent = f"{today.used} of {today.planned} recipients sent today"
        yield f"  warms up, day {today.step + 1} of {len(plan.daily)}: {sent}{paused}", "yellow"


def _tell_now(now: SiteNow) -> Iterator[tuple[str, str]]:
    yield "Actions in force", "bold"
    for action in now.actions:
        scope, until = scope_of(action, now.names), moment(action.expires_at)
        yield f"  {action.id} {action.name}: {effect_of(action)}, {scope}, until {until} UTC: {action.reason}", "yellow"
    if not now.actions:
        yield "  none", "dim"
    yield from _tell_limits(now)
    yield "", ""
    yield f"Last replies (UTC, at most {REPLIES})", "bold"
    for event in now.replies:
        reply = " ".join(str(event.data[key]) for key in ("code", "status", "text") if event.data.get(key))
        yield f"  {moment(event.at)}  {event.kind}  {_line(reply)}", ""
    if not now.replies:
        yield "  none", "dim"


def _tell_limits(now: SiteNow) -> Iterator[tuple[str, str]]:
    """Yield who holds which share of each limit, and which of them keep more from starting."""
    from mta.admin.sites import told_scope

    yield "", ""
    yield "Limits in use, over all workers", "bold"
    for limit in now.limits:
        held = {now.workers.get(lease, f"lease {lease}"): count for lease, count in limit.held.items() if count}
        parts = ", ".join(f"{worker}: {count}" for worker, count in held.items())
        unit = f"starts in {span(limit.key.seconds)}" if limit.key.seconds else "connections"
        cooling = f", {limit.cooling} used within the window" if limit.cooling else ""
        line = f"{sum(held.values())} of {limit.total} {unit} held{f' ({parts})' if parts else ''}{cooling}"
        binds = f"; binds now: none is free, and {limit.wanted} are wanted" if limit.is_full and limit.wanted else ""
        yield f"  {told_scope(limit.key.scope, now.names)}: {line}{binds}", "yellow" if binds else ""
    if not now.limits:
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
    fields_now: dict[str, Any] = {"actions": None, "backoffs": None, "replies": None, "queued": None, "limits": None}
    if (now := view.now) is not None:
        fields_now = {
            "actions": [fields(each, now.names) for each in now.actions],
            "backoffs": plain(now.backoffs),
            "replies": [{"at": each.at, "kind": each.kind, **each.data} for each in now.replies],
            "queued": plain(now.queued),
            "limits": [
                {
                    "scope": each.key.scope,
                    "seconds": each.key.seconds,
                    "total": each.total,
                    "held": {now.workers.get(lease, str(lease)): count for lease, count in each.held.items()},
                    "cooling": each.cooling,
                    "wanted": each.wanted,
                    "full": each.is_full,
                }
                for each in now.limits
            ],
        }
    return {
        "site": view.name.site,
        "provider": view.name.shaping.name,
        "sources": made,
        "tenants": [each.model_dump() for each in view.tenants],
        **fields_now,
    }
