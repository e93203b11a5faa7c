"""Delivery: why mail to a destination is as fast as it is, shaping actions, breakers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from mta.admin import breakers, shaping, sites
from mta.admin.errors import InvalidValue
from mta.admin.sites import ExplainedPath, SiteName, SiteNow
from mta.delivery.egress.pools import SourcePools
from mta.mail.address import AddressError, parse_domain
from mta.mail.identity import format_id
from mta.mail.shaping_action import ActionScope, ShapingAction
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.queue_pages import actions_of
from mta.web.pages.rendering import span
from mta.web.pages.tables import Cell, PageTable

routes = PageRoutes()

SHOWN = 500
SPANS = (("15m", "15 minutes"), ("1h", "1 hour"), ("4h", "4 hours"), ("24h", "1 day"), ("168h", "1 week"))
_SPANS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "4h": timedelta(hours=4), "24h": timedelta(days=1),
          "168h": timedelta(days=7)}  # fmt: skip
_SECONDS = frozenset({"idle", "backoff", "expire_after", "retry_schedule"})
_TONES = {"delivered": "ok", "deferred": "warn", "failed": "bad", "expired": "bad"}


# a destination


async def _site(page: PageRequest) -> SiteName:
    name = page.path_text("name").lower()
    if provider := sites.provider_by_name(page.context.settings, name):
        return provider
    try:
        domain = parse_domain(name)
    except AddressError as error:
        raise InvalidValue("name", str(error)) from None
    return await sites.site_of_domain(page.context.settings, domain)


@routes.get("/destinations/{name}", "shaping:read", operator=True)
async def destination(page: PageRequest) -> PageView:
    """Show a site: what waits for it, what lowers or stops it, its limits and who sets them, its last replies."""
    settings, name = page.context.settings, await _site(page)
    now = await sites.site_now(settings, page.context.store, name, count=True)
    paths = sites.paths_to(settings, name.shaping, page.services["config_file"])
    queued = now.queued or ()
    counts = {key: sum(getattr(each, key) for each in queued) for key in ("recipients", "due", "leased", "held")}
    values = {
        "name": name,
        "counts": counts,
        "oldest": min((each.oldest for each in queued), default=None),
        "queued": queued,
        "paths": [_path(path, name, now) for path in paths],
        "tenants": sites.tenants_of(settings, name.shaping),
        "actions_in_force": _actions(now.actions, page, dict(now.names)),
        "replies": _replies(now),
        "spans": SPANS,
        "actions": actions_of(page),
        "change": urlencode({"destination": name.domain or name.site}),
        "pausable": {"domain": name.domain} if name.domain else {"site": name.site},
    }
    return PageView("destination.html", name.domain or name.site, values, [("Queue", "/queue")])


def _path(path: ExplainedPath, name: SiteName, now: SiteNow) -> dict[str, Any]:
    titles = tables.columns(key="Limit", value="Value", origin="Set by")
    rows = [
        [tables.text(key.replace("_", " ")), tables.text(_value(key, getattr(path.limits, key))), tables.text(origin)]
        for key, origin in path.origins.items()
    ]
    set_by_us = [row for row in rows if row[2].text != "built in"]
    return {
        "source": path.source.name,
        "hindrances": sites.hindrances(path.source.name, name.site, now, name.domain),
        "warming": sites.warming_up(path.plan, now) if path.plan else None,
        "set": PageTable(f"Limits from {path.source.name}", titles, set_by_us, "Only built-in limits hold."),
        "all": PageTable(f"All limits from {path.source.name}", titles, rows),
    }


def _value(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(_value(key, each) for each in value) or "-"
    return span(value) if key in _SECONDS and isinstance(value, int | float) else str(value)


def _replies(now: SiteNow) -> PageTable:
    titles = tables.columns(at=("When", "time"), kind="What", reply=("Reply", "wide"))
    rows = []
    for each in now.replies:
        reply = " ".join(str(each.data[key]) for key in ("code", "status", "text") if each.data.get(key))
        href = f"/messages/{format_id(each.message_id)}" if each.message_id else ""
        rows.append(
            [
                tables.at(each.at),
                Cell(each.kind, href, _TONES.get(each.kind, "")),
                tables.text(reply.replace("\n", " / ")),
            ]
        )
    return PageTable("Last replies", titles, rows, "No reply yet from the newest messages.")


# shaping actions


def _actions(found: Any, page: PageRequest, names: dict[int, str]) -> PageTable:
    titles = tables.columns(
        number="Action", does="Does", scope="To which mail", until=("Until", "time"), why=("Why", "wide"), by="By"
    )
    rows = [
        [
            tables.link(f"{each.id} {each.name}", f"/shaping/{each.id}"),
            tables.text(effect_of(each)),
            tables.text(scope_of(each, names)),
            tables.at(each.expires_at),
            tables.text(each.reason, f"cancelled by {each.cancelled_by}" if each.cancelled_at else ""),
            tables.text(each.author),
        ]
        for each in found
    ]
    return PageTable.sorted(page, "Shaping actions", titles, rows, empty="No action is in force.")


def effect_of(action: ShapingAction) -> str:
    """Return what an action does, with its figures."""
    figures = [f"{action.connections} connections"] if action.connections is not None else []
    figures += [*action.message_rates, *([action.pool] if action.pool else [])]
    return f"{action.effect.value.replace('_', ' ')} {', '.join(figures)}".strip()


def scope_of(action: ShapingAction, names: dict[int, str]) -> str:
    """Return the scope with the account's name."""
    parts = {("account" if key == "account_id" else key): value for key, value in action.scope.fields.items()}
    if action.scope.account_id is not None:
        parts["account"] = names.get(action.scope.account_id, str(action.scope.account_id))
    return ", ".join(f"{key} {value}" for key, value in parts.items()) or "all mail"


@routes.get("/shaping", "shaping:read", operator=True)
async def actions(page: PageRequest) -> Answer:
    """List shaping actions, and begin one."""
    ended = bool(page.query("ended"))
    size = tables.most_rows(page, SHOWN)
    found = await shaping.list_actions(page.context, ended=ended, limit=size + 1)
    table = _actions(found[:size], page, dict(await page.context.account_names()))
    table.cut = len(found) > size
    if tables.wants_csv(page):
        return table.to_csv("shaping")
    pools = [(each, f"let it leave from pool {each}") for each in SourcePools(page.context.settings.egress).names]
    return PageView("shaping.html", "Shaping actions", {"table": table, "ended": ended, "spans": SPANS, "pools": pools})


@routes.post("/shaping", "shaping:write", again=actions, operator=True)
async def begin(page: PageRequest) -> Answer:
    """Pause mail of a scope, or let it leave from another pool."""
    account = page.text("account")
    scope = ActionScope(
        source=page.text("source") or None,
        site=page.text("site") or None,
        domain=page.text("domain") or None,
        account_id=(await page.context.account(account)).account.id if account else None,
        mailing=page.text("mailing") or None,
    )
    wanted = _SPANS.get(page.text("span"))
    if wanted is None:
        raise InvalidValue("span", "choose how long")
    reason = page.text("reason")
    if pool := page.text("pool"):
        action = await shaping.reroute(page.context, scope, pool, span=wanted, reason=reason)
        return Redirect(f"/shaping/{action.id}", f"Leaves from pool {pool}: {action.scope}.")
    action = await shaping.pause(page.context, scope, span=wanted, reason=reason)
    return Redirect(f"/shaping/{action.id}", f"Paused: {action.scope}.")


@routes.get("/shaping/{number}", "shaping:read", operator=True)
async def action(page: PageRequest) -> PageView:
    """Show a shaping action."""
    found = (await shaping.find(page.context, page.path_text("number")))[0]
    names = dict(await page.context.account_names())
    values = {
        "action": found.action,
        "waiting": found.waiting,
        "does": effect_of(found.action),
        "scope": scope_of(found.action, names),
        "in_force": found.action.in_force(datetime.now(UTC)),
    }
    return PageView("shaping_action.html", f"Action {found.action.id}", values, [("Shaping actions", "/shaping")])


@routes.post("/shaping/{number}/cancel", "shaping:write", again=action, operator=True)
async def cancel(page: PageRequest) -> Answer:
    """End a shaping action now."""
    found = await shaping.find(page.context, page.path_text("number"))
    done = await shaping.cancel(page.context, found, reason=page.text("reason"))
    return Redirect("/shaping", f"Action {page.path_text('number')} cancelled; {done.due} recipients are due now.")


# breakers


@routes.get("/breakers", "breakers:read", operator=True)
async def breaker_list(page: PageRequest) -> Answer:
    """List breakers."""
    every = bool(page.query("ended"))
    size = tables.most_rows(page, SHOWN)
    found = await breakers.list_trips(page.context, cancelled=every, limit=size + 1)
    names = await page.context.account_names()
    titles = tables.columns(
        name="Breaker", account="Account", found=("Found", "wide"), at=("Tripped", "time"), state="State"
    )
    rows = [
        [
            tables.link(each.name, f"/breakers/{quote(each.name, safe='')}"),
            tables.text(names.get(each.scope.account_id, "")),
            tables.text(each.words),
            tables.at(each.tripped_at),
            tables.badge("open", "bad") if each.cancelled_at is None else tables.badge(f"reset by {each.cancelled_by}"),
        ]
        for each in found[:size]
    ]
    table = PageTable.sorted(page, "Breakers", titles, rows, empty="No breaker is open.")
    table.cut = len(found) > size
    if tables.wants_csv(page):
        return table.to_csv("breakers")
    return PageView("breakers.html", "Breakers", {"table": table, "ended": every})


@routes.get("/breakers/{name:path}", "breakers:read", operator=True)
async def breaker(page: PageRequest) -> PageView:
    """Show a breaker: what it found, what it holds, earlier trips."""
    found = await breakers.story(page.context, page.path_text("name").removesuffix("/cancel"))
    names = await page.context.account_names()
    values = {"found": found, "newest": found.newest, "account": names.get(found.newest.scope.account_id, "")}
    return PageView("breaker.html", found.newest.name, values, [("Breakers", "/breakers")])


@routes.post("/breakers/{name:path}/cancel", "breakers:write", again=breaker, operator=True)
async def reset(page: PageRequest) -> Answer:
    """Reset a breaker."""
    done = await breakers.cancel(page.context, page.path_text("name"), reason=page.text("reason"))
    return Redirect("/breakers", f"Breaker reset; {done.released} recipients released.")
