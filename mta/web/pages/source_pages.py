"""The sources that mail leaves from, what the DNS says of them, and how far each has warmed up."""

from __future__ import annotations

from urllib.parse import quote

from mta.admin import warmup
from mta.admin.errors import InvalidValue
from mta.delivery.egress.pools import SourcePools
from mta.delivery.egress.warmup import WarmupPlan
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import Cell, PageTable

routes = PageRoutes()

READ, WRITE = "shaping:read", "shaping:write"


@routes.get("/sources", READ, operator=True)
async def sources(page: PageRequest) -> Answer:
    """Show the sources with what their last checks found, and how far each has warmed up."""
    settings, store = page.context.settings, page.context.store
    pools = SourcePools(settings.egress)
    checks = await store.source_checks.list()
    shown = [
        {
            "source": each,
            "ehlo": each.ehlo or settings.egress.ehlo or settings.server.hostname,
            "pools": ", ".join(sorted(pools.of_source(each.name))) or "none",
            "checks": [one for one in checks if (one.source, one.address) == (each.name, each.address)],
        }
        for each in pools.sources
    ]
    table = await _warmup(page)
    if tables.wants_csv(page):
        return table.to_csv("warmup")
    return PageView("sources.html", "Sources and warm-up", {"sources": shown, "warmup": table})


async def _warmup(page: PageRequest) -> PageTable:
    titles = tables.columns(
        source="Source", provider="Provider", day=("Day", "number"), planned=("Planned today", "number"),
        sent=("Sent", "number"), good=("Good", "number"), bad=("Bad", "number"), state="State",
    )  # fmt: skip
    rows = []
    for each in await warmup.list_all(page.context):
        tone = "ok" if each.planned is None else "warn" if each.paused else "info" if each.day else ""
        rows.append(
            [
                tables.link(each.plan.source, _path(each.plan)),
                tables.text(each.plan.provider),
                Cell("-" if each.planned is None else f"{each.step + 1} of {len(each.plan.daily)}", sort=each.step),
                tables.text("all") if each.planned is None else tables.number(each.planned),
                tables.number(each.used),
                tables.number(each.day.good if each.day else 0),
                tables.number(each.day.bad if each.day else 0),
                tables.badge(each.text, tone),
            ]
        )
    return PageTable.sorted(page, "Warm-up", titles, rows, empty="No source warms up by a curve.")


def _path(plan: WarmupPlan) -> str:
    return f"/sources/{quote(plan.source, safe='')}/{quote(plan.provider, safe='')}"


def _plan(page: PageRequest) -> WarmupPlan:
    return warmup.find_plan(page.context, page.path_text("source"), page.path_text("provider"))


@routes.get("/sources/{source}/{provider}", READ, operator=True)
async def warmup_page(page: PageRequest) -> PageView:
    """Show how far a source has warmed up at a provider, and its curve."""
    plan = _plan(page)
    state = next(each for each in await warmup.list_all(page.context) if each.plan == plan)
    values = {"state": state, "plan": plan, "to": _path(plan)}
    return PageView("warmup.html", f"{plan.source} at {plan.provider}", values, [("Sources and warm-up", "/sources")])


@routes.post("/sources/{source}/{provider}/resume", WRITE, again=warmup_page, operator=True)
async def resume_warmup(page: PageRequest) -> Answer:
    """End today's pause of a source at a provider."""
    plan = _plan(page)
    await warmup.resume(page.context, plan.source, plan.provider, reason=page.text("reason"))
    return Redirect(_path(plan), "It sends on today.")


@routes.post("/sources/{source}/{provider}/day", WRITE, again=warmup_page, operator=True)
async def set_warmup_day(page: PageRequest) -> Answer:
    """Set the day of the curve that today is."""
    plan, day = _plan(page), page.number("day", 1)
    if day is None:
        raise InvalidValue("day", "the day is missing")
    await warmup.set_day(page.context, plan.source, plan.provider, day, reason=page.text("reason"))
    return Redirect(_path(plan), f"Today is day {day} of the curve.")
