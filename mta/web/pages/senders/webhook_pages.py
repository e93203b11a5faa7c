"""Webhooks: where an account's events are sent, how far each has come, replay; the events themselves.

Invariants: a secret is shown once, when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mta.admin import webhooks
from mta.admin.errors import InvalidValue
from mta.mail.identity import format_id
from mta.observe.account_events import AccountEvent
from mta.store.journal.webhooks import WebhookDetails
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import Cell, PageTable

routes = PageRoutes()

READ, WRITE = "webhooks:read", "webhooks:write"
EVENTS = 50  # shown


@routes.get("/webhooks", READ)
async def list_(page: PageRequest) -> Answer:
    """List webhooks, and the newest events of the account."""
    return await _list(page)


async def _list(page: PageRequest, secret: str = "") -> Answer:
    more: dict[str, Any] = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        url=("Address", "wide"), state="State", waiting=("Waiting", "number"), last=("Last success", "time"), **more
    )
    rows = []
    for each in await webhooks.list_all(page.context):
        cells = [
            tables.link(each.url, f"/webhooks/{each.id}", each.last_error or ", ".join(each.kinds)),
            tables.badge(*state_of(each)),
            tables.number(each.waiting),
            tables.at(each.last_success_at) if each.last_success_at else tables.text("never"),
        ]
        rows.append([*cells, tables.text(each.account)] if page.is_operator else cells)
    table = PageTable.sorted(page, "Webhooks", titles, rows, empty="No webhook.")
    if tables.wants_csv(page):
        return table.to_csv("webhooks")
    own = page.context.actor.account_id
    events = None if own is None else _event_table(await _newest(page, own))
    return PageView("webhooks.html", "Webhooks and events", {"table": table, "secret": secret, "events": events})


def state_of(webhook: WebhookDetails) -> tuple[str, str]:
    """Return how a webhook is, and the tone of that."""
    if webhook.paused_at:
        return "paused", "warn"
    return ("failing", "bad") if webhook.failures else ("works", "ok")


async def _newest(page: PageRequest, account_id: int, kinds: Sequence[str] = ()) -> list[AccountEvent]:
    """Return the newest events of an account, the latest first."""
    outbox = page.context.store.outbox
    return await outbox.latest(account_id, await outbox.watermark(), kinds, EVENTS)


def _event_table(events: Sequence[AccountEvent], webhook: WebhookDetails | None = None) -> PageTable:
    """``webhook``: says of each event whether it has taken it."""
    more: dict[str, Any] = {"taken": "State"} if webhook else {}
    titles = tables.columns(
        number=("Event", "number"),
        at=("When", "time"),
        kind="What",
        to=("Recipient", "name"),
        data=("Details", "wide"),
        **more,
    )
    rows = []
    for each in events:
        said = ", ".join(f"{key} {value}" for key, value in each.data.items() if value not in (None, "", []))
        href = f"/messages/{format_id(each.message_id)}" if each.message_id else ""
        cells = [
            Cell(str(each.id), sort=each.id),
            tables.at(each.at),
            tables.text(each.kind),
            Cell(each.recipient or "", href=href),
            tables.text(said),
        ]
        if webhook:
            cells.append(tables.badge("taken", "ok") if each.id <= webhook.cursor else tables.badge("waits", "warn"))
        rows.append(cells)
    return PageTable("Newest events", titles, rows, "No event yet: they are kept once there is a webhook.")


@routes.post("/webhooks", WRITE, again=list_)
async def add(page: PageRequest) -> Answer:
    """Make a webhook, and show its signing secret, once."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    kinds = page.text("kinds").replace(",", " ").split()
    _, secret = await webhooks.add(page.context, account, page.required("url", "the address"), kinds)
    return await _list(page, secret)


# one webhook


@routes.get("/webhooks/{webhook}", READ)
async def show(page: PageRequest) -> PageView:
    """Show how far a webhook has come, and what it was sent or waits for it."""
    return await _show(page)


async def _show(page: PageRequest, secret: str = "") -> PageView:
    webhook = await _webhook(page)
    state, tone = state_of(webhook)
    values = {
        "webhook": webhook,
        "state": state,
        "tone": tone,
        "events": _event_table(await _newest(page, webhook.account_id, webhook.kinds), webhook),
        "secret": secret,
        "to": f"/webhooks/{webhook.id}",
    }
    return PageView("webhook.html", webhook.url, values, [("Webhooks and events", "/webhooks")])


async def _webhook(page: PageRequest) -> WebhookDetails:
    text = page.path_text("webhook")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
    return await webhooks.find(page.context, number)


@routes.post("/webhooks/{webhook}/replay", WRITE, again=show)
async def replay(page: PageRequest) -> Answer:
    """Send events again: from a number on, or from a moment on."""
    webhook = await _webhook(page)
    first, since = page.number("first", 1, 2**62), page.moment("since")
    if (first is None) is (since is None):
        raise InvalidValue("first", "give the number of the first event, or the moment; one of the two")
    after = first - 1 if first is not None else await _before(page, webhook, since)
    if after >= webhook.cursor:
        raise InvalidValue("first" if since is None else "since", "the webhook has taken nothing from there on yet")
    await webhooks.replay(page.context, webhook.id, after)
    return Redirect(f"/webhooks/{webhook.id}", f"What came from event {after + 1} on is sent again.")


async def _before(page: PageRequest, webhook: WebhookDetails, since: datetime | None) -> int:
    assert since is not None
    return await page.context.store.outbox.before(webhook.account_id, since)


@routes.post("/webhooks/{webhook}/{what}", WRITE, again=show)
async def change(page: PageRequest) -> Answer:
    """Pause, resume, test, rotate or remove a webhook."""
    webhook = await _webhook(page)
    match page.path_text("what"):
        case "pause":
            await webhooks.pause(page.context, webhook.id)
            done = "Paused; events are kept."
        case "resume":
            await webhooks.resume(page.context, webhook.id)
            done = "Resumed."
        case "test":
            why = await webhooks.send_test(page.context, webhook.id)
            done = "It took a test event." if why is None else f"It did not take a test event: {why}"
            return Redirect(f"/webhooks/{webhook.id}", done, "ok" if why is None else "bad")
        case "rotate":
            return await _show(page, await webhooks.rotate(page.context, webhook.id))
        case "remove":
            await webhooks.remove(page.context, webhook.id, reason=page.required("reason", "the reason"))
            return Redirect("/webhooks", "Removed.")
        case _:
            raise InvalidValue("what", "there is no such change")
    return Redirect(f"/webhooks/{webhook.id}", done)
