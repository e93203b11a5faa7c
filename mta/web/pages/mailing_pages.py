"""Mailings: their figures and reasons, and the confirmation of a dispatch by a tick beside its preview."""

from __future__ import annotations

import base64
from typing import Any

from mta.admin import mailings
from mta.admin.errors import InvalidValue
from mta.admin.senders import accounts
from mta.mail.hold import HoldSource
from mta.mail.identity import format_id
from mta.store.mailings.mailing_holds import QueueMoved
from mta.store.mailings.mailing_records import MailingStory
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect, message_id
from mta.web.pages.tables import PageTable
from policy.accounts.mailing import Mailing
from policy.text.message_text import MessageText

routes = PageRoutes()

READ, WRITE = "mailings:read", "mailings:write"
SHOWN = 500
SHOWN_TEXT = 20_000  # characters
MAX_MESSAGE = 5 * 1024 * 1024  # octets
OUTCOMES = {"delivered": "ok", "deferred": "warn", "failed": "bad", "expired": "bad", "dropped": "bad"}


def state_of(mailing: Mailing) -> tuple[str, str]:
    """Return the state of a mailing, and its tone."""
    if mailing.stopped is not None:
        return "stopped", "bad"
    if mailing.confirmation is None:
        return "to confirm", "warn"
    if mailing.sample and mailing.sample.exhausted:
        return "waits for a look at the sample", "warn"
    if not mailing.approved:
        return "its list is not approved", "warn"
    return "confirmed", "ok"


@routes.get("/mailings", READ)
async def list_(page: PageRequest) -> Answer:
    """List mailings, the newest first, and create one."""
    account = page.query("account") or None
    size = tables.most_rows(page, SHOWN)
    found = await mailings.list_page(page.context, account=account, limit=size + 1)
    names = await page.context.account_names() if page.is_operator else {}
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(name="Mailing", state="State", topic="Topic", list="List", at=("Created", "time"), **more)
    rows = []
    for each in found[:size]:
        words, tone = state_of(each.mailing)
        cells = [
            tables.link(each.mailing.name, f"/mailings/{each.mailing.id}"),
            tables.badge(words, tone),
            tables.text(each.mailing.topic),
            tables.text(each.mailing.list),
            tables.at(each.created_at),
        ]
        if page.is_operator:
            name = names.get(each.mailing.account_id, str(each.mailing.account_id))
            cells.append(tables.link(name, f"/accounts/{name}"))
        rows.append(cells)
    table = PageTable.sorted(page, "Mailings", titles, rows, empty="No mailing yet.")
    table.cut = len(found) > size
    if tables.wants_csv(page):
        return table.to_csv("mailings", "GET /v1/mailings has them")
    own = await accounts.list_all(page.context) if not page.is_operator else ()
    lists = [(source.name, source.name) for details in own for source in details.sources]
    return PageView("mailings.html", "Mailings", {"table": table, "account": account or "", "lists": lists})


@routes.post("/mailings", WRITE, again=list_)
async def add(page: PageRequest) -> Answer:
    """Create a mailing."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    mailing = await mailings.add(
        page.context,
        account,
        page.required("name", "the name"),
        topic=page.required("topic", "the topic"),
        list_name=page.required("list", "the list"),
    )
    return Redirect(f"/mailings/{mailing.id}", f"Mailing {mailing.name} created. It is sent once it is confirmed.")


@routes.get("/mailings/{mailing}", READ)
async def show(page: PageRequest) -> PageView:
    """Show a mailing: figures, what was confirmed, reasons per recipient; and the confirmation, if it is due."""
    story = await mailings.story(page.context, page.path_text("mailing"))
    mailing = story.record.mailing
    words, tone = state_of(mailing)
    outcomes = {kind: sum(count for each, _, count in story.outcomes if each == kind) for kind in OUTCOMES}
    tried = outcomes["delivered"] + outcomes["failed"] + outcomes["expired"]
    values: dict[str, Any] = {
        "story": story,
        "mailing": mailing,
        "state": words,
        "tone": tone,
        "outcomes": outcomes,
        "share": outcomes["failed"] / tried if tried else None,
        "reasons": _reasons(story.outcomes),
        "latest": _latest(story.latest),
        "references": [_reference(each) for each in story.references],
        "waiting": dict(story.waiting),
        "candidates": await _candidates(page, story),
        "terms": page.context.settings.policy.terms.version,
        "history": [
            (each, ", ".join(f"{key} {value}" for key, value in each.data.items() if key not in ("mailing", "act")))
            for each in story.history
        ],
    }
    return PageView("mailing.html", mailing.name, values, [("Mailings", "/mailings")])


def _unmatched(story: Any) -> bool:
    return any(hold.source is HoldSource.MAILING and hold.ref == "unmatched" for hold, _ in story.holds)


def _reasons(outcomes: Any) -> PageTable:
    titles = tables.columns(kind="Result", category="Why", count=("Recipients", "number"))
    rows = [
        [tables.badge(kind, OUTCOMES.get(kind, "")), tables.text(category.replace("_", " ")), tables.number(count)]
        for kind, category, count in outcomes
    ]
    return PageTable("Results", titles, rows, "Nothing was sent yet.")


def _latest(events: Any) -> PageTable:
    titles = tables.columns(at=("When", "time"), kind="What", to=("Recipient", "name"), reply=("Reply", "wide"))
    rows = []
    for each in events:
        reply = " ".join(str(each.data[key]) for key in ("code", "status", "text") if each.data.get(key))
        rows.append(
            [
                tables.at(each.at),
                tables.badge(each.kind, OUTCOMES.get(each.kind, "")),
                tables.link(each.recipient or "", f"/messages/{format_id(each.message_id)}"),
                tables.text(reply.replace("\n", " / ")),
            ]
        )
    return PageTable("Newest results", titles, rows, "Nothing happened yet.")


def _reference(each: Any) -> dict[str, Any]:
    picture = f"data:image/png;base64,{base64.b64encode(each.picture).decode()}" if each.picture else ""
    return {"reference": each, "picture": picture}


async def _candidates(page: PageRequest, story: MailingStory) -> list[dict[str, Any]]:
    """Return queued messages that can be confirmed now, as their recipients would see them."""
    mailing = story.record.mailing
    is_due = mailing.confirmation is None or _unmatched(story)
    if not is_due or mailing.stopped is not None or not page.may(WRITE):
        return []
    return [
        {
            "id": format_id(each.message_id),
            "to": each.recipient,
            "subject": each.subject,
            "text": MessageText(each.content).visible[:SHOWN_TEXT],
        }
        for each in await mailings.candidates(page.context, mailing.id)
    ]


@routes.post("/mailings/{mailing}/confirm", WRITE, again=show, upload=MAX_MESSAGE + 256 * 1024)
async def confirm(page: PageRequest) -> Answer:
    """Confirm a dispatch: a person ticks that it keeps to the rules, beside what it says."""
    if not page.ticked("tick"):
        raise InvalidValue("tick", "tick that this mailing keeps to the rules")
    name = page.path_text("mailing")
    chosen = [number for text in page.texts("queued") if (number := message_id(text))]
    upload = page.upload("message")
    files = []
    if upload is not None:
        content = await upload.read(MAX_MESSAGE + 1)
        if len(content) > MAX_MESSAGE:
            raise InvalidValue("message", f"at most {MAX_MESSAGE // 1024 // 1024} MB")
        files.append((upload.filename or "message", content, False))
    done = await mailings.confirm(page.context, name, messages=files, queued=chosen)
    return Redirect(f"/mailings/{name}", f"Confirmed. {moved_words(done.moved)}")


def moved_words(moved: QueueMoved) -> str:
    """Return what became of the queued recipients of a mailing."""
    counts = ((moved.released, "released"), (moved.held, "held"), (moved.bounced, "bounced"))
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    more = f"; {moved.still_held} of the released ones have other holds" if moved.still_held else ""
    return f"Queued recipients: {told or 'none concerned'}{more}."


@routes.post("/mailings/{mailing}/stop", WRITE, again=show)
async def stop(page: PageRequest) -> Answer:
    """Stop a mailing."""
    name = page.path_text("mailing")
    moved = await mailings.stop(page.context, name, reason=page.text("reason"), bounce=page.ticked("bounce"))
    return Redirect(f"/mailings/{name}", f"Stopped. {moved_words(moved)}", "warn")


@routes.post("/mailings/{mailing}/release", WRITE, again=show, operator=True)
async def release(page: PageRequest) -> Answer:
    """Release a mailing after a look at its sample, or after a stop."""
    name = page.path_text("mailing")
    moved = await mailings.release(page.context, name, reason=page.text("reason"))
    return Redirect(f"/mailings/{name}", f"Released. {moved_words(moved)}")
