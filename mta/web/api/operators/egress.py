"""``/v1/shaping``: what holds for mail to a domain and why, the sources, and how they warm up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import Path, Query, Request
from fastapi.encoders import jsonable_encoder
from pydantic import Field

from mta.admin import sites, warmup
from mta.admin.json_values import plain
from mta.admin.service import egress_sources
from mta.admin.service.egress_sources import CheckedSource
from mta.admin.warmup import WarmupState
from mta.web.api.domains import DomainInPath
from mta.web.api.fields import BecauseOf, DryRun, Line, Model
from mta.web.api.operators.shaping import ActionItem, action_item
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("shaping")

READ, WRITE = "shaping:read", "shaping:write"
SourceName = Annotated[Line, Path(max_length=100, description="Name of the source.")]
SourceFilter = Annotated[Line | None, Query(max_length=100, description="Only this source.")]
ProviderName = Annotated[Line, Path(max_length=100, description="Name of the provider, or `default`.")]


class LimitItem(Model):
    """``set_by``: the file and line, or that it is built in."""

    value: Any
    set_by: str


class LimitInUseItem(Model):
    """``seconds``: window of a rate, 0 for connections. ``held``: by worker; ``cooling``: used within the window;
    ``full``: none is free."""

    scope: str
    seconds: float
    total: int
    held: dict[str, int]
    cooling: int
    wanted: int
    full: bool


class BackoffItem(Model):
    source: str
    site: str
    until: datetime
    reply: str


class ReplyItem(Model):
    at: datetime
    kind: str
    data: dict[str, Any]


class SiteItem(Model):
    """``why``: how the site was found. ``paths``: the limits from each source, and what sets them. ``tenants``: limits
    of accounts and mailings."""

    domain: str | None
    site: str
    why: str
    provider: str
    paths: dict[str, dict[str, LimitItem]]
    tenants: list[dict[str, Any]]
    actions: list[ActionItem]
    backoffs: list[BackoffItem]
    limits: list[LimitInUseItem]
    replies: list[ReplyItem]


class SourceFaultItem(Model):
    kind: str
    text: str
    remedy: str


class SourceCheckItem(Model):
    """The last check on one machine. ``unknown``: what could not be seen, and why."""

    host: str
    checked_at: datetime | None
    faults: list[SourceFaultItem]
    unknown: dict[str, str]


class EgressSourceItem(Model):
    """``address`` null: the system chooses, and nothing is checked."""

    name: str
    address: str | None
    ehlo: str | None
    certified: bool
    pools: list[str]
    checks: list[SourceCheckItem]


class WarmupItem(Model):
    """A source at a provider. ``planned``: recipients of today, null: it is warm. The other counts are today's."""

    source: str
    provider: str
    curve: str
    day: int
    days: int
    planned: int | None
    sent: int
    good: int
    bad: int
    tomorrow: int | None
    paused: str
    last_day: date | None
    state: str


class WarmupDayBody(DryRun):
    day: int = Field(ge=1, le=10_000, description="Day of the curve, from 1; one after the last makes the source warm.")


class PlannedDay(Model):
    """``planned``: recipients of today; null: as many as the limits allow."""

    planned: int | None


@router.operation("GET", "/explain/{domain}", READ)
async def explain(
    request: Request,
    context: Context,
    domain: DomainInPath,
    source: SourceFilter = None,
    account: Annotated[Line | None, Query(max_length=64, description="Only limits of this account.")] = None,
) -> SiteItem:
    """Return the limits for mail to a domain, the line that sets each, and what holds it up now."""
    view = await sites.explain(context, domain, request.app.state.config_file, source=source, account=account)
    now = view.now
    return SiteItem(
        domain=view.name.domain,
        site=view.name.site,
        why=view.name.why,
        provider=view.name.shaping.name,
        paths={
            path.source.name: {
                key: LimitItem(value=jsonable_encoder(plain(getattr(path.limits, key))), set_by=origin)
                for key, origin in path.origins.items()
            }
            for path in view.paths
        },
        tenants=[each.model_dump(mode="json") for each in view.tenants],
        actions=[action_item(each, now.names) for each in now.actions],
        backoffs=[BackoffItem.model_validate(each) for each in now.backoffs],
        limits=[
            LimitInUseItem(
                scope=sites.told_scope(each.key.scope, now.names),
                seconds=each.key.seconds,
                total=each.total,
                held=_by_worker(each.held, now.workers),
                cooling=each.cooling,
                wanted=each.wanted,
                full=each.is_full,
            )
            for each in now.limits
        ],
        replies=[ReplyItem(at=each.at, kind=each.kind, data=jsonable_encoder(dict(each.data))) for each in now.replies],
    )


def _by_worker(held: Mapping[int, int], workers: Mapping[int, str]) -> dict[str, int]:
    return {workers.get(lease, f"lease {lease}"): count for lease, count in held.items()}


@router.operation("GET", "/sources", READ)
async def sources(
    context: Context,
    source: SourceFilter = None,
    check: Annotated[bool, Query(description="Look everything up now, from this machine.")] = False,
) -> list[EgressSourceItem]:
    """Return each source, its pools, what the last check found wrong with it, and how to fix that."""
    return [_source(each) for each in await egress_sources.list_all(context, source, check=check)]


def _source(shown: CheckedSource) -> EgressSourceItem:
    source = shown.source
    return EgressSourceItem(
        name=source.name,
        address=source.address,
        ehlo=source.ehlo,
        certified=source.certified,
        pools=list(shown.pools),
        checks=[
            SourceCheckItem(
                host=check.host,
                checked_at=check.checked_at,
                faults=[
                    SourceFaultItem(kind=each.kind.value, text=each.text, remedy=each.remedy) for each in check.faults
                ],
                unknown={kind.value: why for kind, why in check.unknown.items()},
            )
            for check in shown.checks
        ],
    )


@router.operation("GET", "/warmup", READ)
async def list_warmup(context: Context, source: SourceFilter = None) -> list[WarmupItem]:
    """Return what each source that warms up may send to each provider today, and what it has sent."""
    return [_warmup(each) for each in await warmup.list_all(context) if source in (None, each.plan.source)]


def _warmup(state: WarmupState) -> WarmupItem:
    today = state.day
    return WarmupItem(
        source=state.plan.source,
        provider=state.plan.provider,
        curve=state.plan.curve,
        day=state.step + 1,
        days=len(state.plan.daily),
        planned=state.planned,
        sent=state.used,
        good=today.good if today else 0,
        bad=today.bad if today else 0,
        tomorrow=state.tomorrow,
        paused=state.paused,
        last_day=state.latest.day if state.latest else None,
        state=state.text,
    )


@router.operation("POST", "/warmup/{source}/{provider}/resume", WRITE, status_code=204)
async def resume_warmup(context: Context, source: SourceName, provider: ProviderName, body: BecauseOf) -> None:
    """End today's pause: the source sends on, and today's bad answers are forgotten."""
    await warmup.resume(context, source, provider, reason=body.reason)


@router.operation("POST", "/warmup/{source}/{provider}/set", WRITE)
async def set_warmup(context: Context, source: SourceName, provider: ProviderName, body: WarmupDayBody) -> PlannedDay:
    """Let today be this day of the source's curve at a provider."""
    planned = warmup.planned_on(context, source, provider, body.day)
    if not body.dry_run:
        await warmup.set_day(context, source, provider, body.day, reason=body.reason)
    return PlannedDay(planned=planned)
