"""``mta shaping explain``: what holds for mail to a domain, which line says so, and what is in force now.

The figures of the file need no running service. What is in force, and the last replies, come from the database, if it
can be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import account_names, load_settings, open_store
from mta.cli.options import AccountOption, ConfigOption, JsonOption, find_config, parse_domain
from mta.cli.output import fail, moment, plain, print_json, print_lines, span
from mta.cli.shaping.actions import effect_of, fields, scope_of
from mta.cli.shaping.scope import SourceOption

if TYPE_CHECKING:
    from config.schema import PathLimits, Settings, Shaping, TenantShaping
    from mta.delivery.egress.sources import EgressSource
    from mta.mail.shaping_action import ShapingAction
    from mta.store.journal.events import Event
    from mta.store.queue.backoffs import PathBackoff
    from mta.store.store import Store

REPLIES = 10
_SECONDS = frozenset({"idle", "backoff", "expire_after", "retry_schedule"})


@dataclass(frozen=True, slots=True)
class _Now:
    """What the database knows of a site."""

    actions: Sequence[ShapingAction]
    backoffs: Sequence[PathBackoff]
    replies: Sequence[Event]
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Path:
    """What the file says of a path: the limits, and where each is set."""

    source: EgressSource
    limits: PathLimits
    origins: Mapping[str, str]


def explain(
    domain: Annotated[str, typer.Argument(metavar="DOMAIN", help="A recipient domain.")],
    source: SourceOption = None,
    account: AccountOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the limits for mail to DOMAIN, the line that sets each, and what holds it up now."""
    settings, domain = load_settings(config), parse_domain(domain)
    site, shaping, why = asyncio.run(_site(settings, domain))
    paths = list(_paths(settings, shaping, source, config))
    tenants = [each for each in settings.shaping.tenants if _concerns(each, shaping, account)]
    now, unknown = asyncio.run(_now(settings, site, domain))
    if as_json:
        print_json(_fields(site, shaping, paths, tenants, now))
        return
    print_lines(_tell(domain, site, shaping, why, paths, tenants, now, unknown))


async def _site(settings: Settings, domain: str) -> tuple[str, Shaping, str]:
    """Return the site, its limits, and how it was found."""
    from mta.delivery.mx import Resolver
    from mta.delivery.route import Route

    route = await Resolver(settings).route(domain)
    if isinstance(route, Route):
        return route.site, route.shaping, f"by {route.hosts[0].name}"
    for provider in settings.shaping.providers:
        if domain in provider.domains:
            return provider.name, provider, "by its name"
    return domain, settings.shaping.default, f"no route: {route}"


def _paths(settings: Settings, shaping: Shaping, only: str | None, config: Any) -> Iterator[_Path]:
    from config.shaping_origin import LIMITS, ShapingOrigins
    from mta.delivery.egress.paths import PathShaping
    from mta.delivery.egress.pools import SourcePools

    pools = SourcePools(settings.egress)
    if only is not None and only not in (names := [each.name for each in pools.sources]):
        fail(f"there is no source {only!r}; there are {', '.join(names)}", status=2)
    limits, origins = PathShaping(settings.shaping, pools), ShapingOrigins(find_config(config))
    for source in pools.sources:
        if only in (None, source.name):
            overrides = [
                (n, each) for n, each in enumerate(settings.shaping.sources)
                if each.provider in (None, shaping.name)
                and (each.source == source.name or each.pool in pools.of_source(source.name))
            ]  # fmt: skip
            yield _Path(
                source, limits.limits(source, shaping), {key: origins.of(key, shaping, overrides) for key in LIMITS}
            )


def _concerns(tenant: TenantShaping, shaping: Shaping, account: str | None) -> bool:
    return tenant.provider in (None, shaping.name) and (account is None or tenant.account in ("*", account))


async def _now(settings: Settings, site: str, domain: str) -> tuple[_Now | None, str]:
    """Return what the database knows, or why it cannot be asked."""
    from mta.store.postgres.embedded import EmbeddedError
    from mta.store.postgres.errors import SchemaError, StoreUnavailable
    from mta.store.postgres.secrets import SecretError

    async def ask(store: Store) -> _Now:
        actions = [each for each in await store.shaping_actions.list() if _may_concern(each, site, domain)]
        backoffs = [each for each in await store.backoffs.list() if each.site == site]
        replies = await store.events.replies_of(domain, REPLIES)
        return _Now(actions, backoffs, replies, await account_names(store))

    try:
        async with open_store(settings) as store:
            return await ask(store), ""
    except (EmbeddedError, SchemaError, SecretError, StoreUnavailable, OSError) as error:
        return None, str(error)


def _may_concern(action: ShapingAction, site: str, domain: str) -> bool:
    return action.scope.site in (None, site) and action.scope.domain in (None, domain)


def _tell(
    domain: str,
    site: str,
    shaping: Shaping,
    why: str,
    paths: Sequence[_Path],
    tenants: Sequence[TenantShaping],
    now: _Now | None,
    unknown: str,
) -> Iterator[tuple[str, str]]:
    provider = f"provider {shaping.name}" if shaping.name != "default" else "no provider: shaping.default"
    yield f"{domain} belongs to site {site} ({why}), {provider}", "bold"
    for path in paths:
        yield "", ""
        yield f"From source {path.source.name}", "bold"
        for key, origin in path.origins.items():
            value = _value(key, getattr(path.limits, key))
            yield f"  {key:28} {value:24} {origin}", "dim" if origin == "built in" else ""
        yield from _binding(path, site, now)
    if tenants:
        yield "", ""
        yield "Per account or mailing", "bold"
    for tenant in tenants:
        of = f"mailing {tenant.mailing} of account {tenant.account}" if tenant.mailing else f"account {tenant.account}"
        figures = [f"{tenant.connections} connections"] if tenant.connections is not None else []
        yield f"  {of}: {', '.join([*figures, *tenant.message_rates])}", ""
    yield "", ""
    if now is None:
        yield f"Actions, backoffs and replies are not known: {unknown}", "yellow"
        return
    yield from _tell_now(now)


def _binding(path: _Path, site: str, now: _Now | None) -> Iterator[tuple[str, str]]:
    """Yield what is lower now than the file says, or stops the path."""
    from mta.delivery.egress.actions import ActionsInForce

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


def _fields(
    site: str, shaping: Shaping, paths: Sequence[_Path], tenants: Sequence[TenantShaping], now: _Now | None
) -> dict[str, Any]:
    made = {
        path.source.name: {
            key: {"value": getattr(path.limits, key), "set_by": origin} for key, origin in path.origins.items()
        }
        for path in paths
    }
    fields_now: dict[str, Any] = {"actions": None, "backoffs": None, "replies": None}
    if now is not None:
        fields_now = {
            "actions": [fields(each, now.names) for each in now.actions],
            "backoffs": plain(now.backoffs),
            "replies": [{"at": each.at, "kind": each.kind, **each.data} for each in now.replies],
        }
    return {
        "site": site,
        "provider": shaping.name,
        "sources": made,
        "tenants": [each.model_dump() for each in tenants],
        **fields_now,
    }
