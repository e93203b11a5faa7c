"""Messages: search, everything known of one, and those that were not accepted.

The page of a message begins with what matters: the last reply of each recipient, and what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from mta.admin import messages
from mta.admin.errors import InvalidValue
from mta.admin.messages import MessageStory
from mta.mail.hold import Hold, HoldSource
from mta.mail.identity import MessageId, format_id
from mta.observe.labels import QueueState
from mta.store.journal.events import Event
from mta.store.queue.message_search import LOOKED_THROUGH, MessageQuery, MessagesFound
from mta.store.queue.queue import QueueEntry
from mta.web.api.listing import Cursor
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, QueryValues, Redirect, message_id
from mta.web.pages.queue_pages import actions_of
from mta.web.pages.tables import PageTable
from policy.text.message_text import MessageText

routes = PageRoutes()

READ = "messages:read"
REJECTIONS = 200  # shown
SHOWN_TEXT = 20_000  # characters
ATTEMPTS = frozenset({"delivered", "deferred", "failed", "expired"})
TONES = {
    "delivered": "ok", "deferred": "warn", "failed": "bad", "expired": "bad", "dropped": "bad", "held": "warn",
    "released": "ok", "bounced": "bad", "bounced_async": "bad", "complained": "bad", "dsn": "info",
}  # fmt: skip
WORDS = {
    "dsn": "a notification was sent to the sender",
    "bounced": "bounced by an operator",
    "dropped": "removed from the queue: the address was suppressed meanwhile",
    "bounced_async": "bounced after the receiver had accepted it",
    "delay_reported": "a host further on reports a delay",
    "auto_reply": "an automatic reply came",
    "complained": "the recipient complained",
}
VERDICTS = {"refuse": "bad", "error": "bad", "hold": "warn", "observe": "warn", "amend": "info"}
_CURSOR: Cursor[str] = Cursor(str)


@dataclass(frozen=True, slots=True)
class RecipientStanding:
    """How one recipient stands. ``reply``: the last one, or why there is none; ``next``: what comes, in words."""

    address: str
    state: str
    tone: str
    reply: str
    rule: str
    attempts: int
    next: str
    due_at: datetime | None = None
    waits: str = ""


@dataclass(frozen=True, slots=True)
class MessageStep:
    """One event, as the timeline shows it."""

    at: datetime
    tone: str
    title: str
    whom: str
    reply: str = ""
    notes: tuple[str, ...] = ()


@routes.get("/search", READ)
async def search(page: PageRequest) -> Answer:
    """Search messages; an id leads to its message."""
    typed = page.query("id")
    if typed and (number := message_id(typed)):
        return Redirect(f"/messages/{format_id(number)}")
    given = QueryValues(
        {name: page.query(name) for name in ("recipient", "sender", "subject", "reply") if page.query(name)}
    )
    table = None
    if given:
        query = MessageQuery(
            sender=given["sender"] or None,
            recipient=given["recipient"] or None,
            subject=given["subject"] or None,
            reply=given["reply"] or None,
        )
        before = message_id(_CURSOR.decode(page.query("cursor"))) if page.query("cursor") else None
        size = tables.most_rows(page)
        found = await messages.search(page.context, query, before=before, limit=size + 1)
        table = _found(page, found, size)
        if tables.wants_csv(page):
            return table.to_csv("messages")
    wrong = f"{typed} is not the id of a message: it has 26 letters and digits." if typed else ""
    return PageView("search.html", "Search", {"given": given, "table": table, "typed": typed, "wrong": wrong})


def _found(page: PageRequest, answer: MessagesFound, size: int) -> PageTable:
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        received=("Accepted", "time"), to="Recipients", subject=("Subject", "wide"), last="Last", **more
    )
    rows, found = [], answer.messages
    for each in found[:size]:
        others = each.recipients - len(each.first)
        to = ", ".join(each.first) + (f" and {others} more" if others > 0 else "")
        last = each.last or ("queued" if each.queued else "none")
        cells = [
            tables.at(each.received_at),
            tables.link(to, f"/messages/{format_id(each.id)}", f"from {each.sender or '<>'}"),
            tables.text(each.subject or ""),
            tables.badge(last, TONES.get(last, ""), "still queued" if each.queued and each.last else ""),
        ]
        if page.is_operator:
            name = each.account or str(each.account_id)
            cells.append(tables.link(name, f"/accounts/{quote(name)}"))
        rows.append(cells)
    table = PageTable("Messages", titles, rows, _none_fits(answer))
    following = found[size - 1].id if len(found) > size else answer.further
    table.cut = following is not None
    if following:
        table.following = page.here(cursor=_CURSOR.encode(format_id(following)))
    table.first = page.here(cursor=None) if page.query("cursor") else ""
    table.csv = page.here(format="csv", cursor=None)
    return table


def _none_fits(answer: MessagesFound) -> str:
    if answer.further is None:
        return "No message fits."
    return f"None of these {LOOKED_THROUGH:,} messages fits; the next page looks through older ones."


@routes.get("/messages/{id}", READ)
async def show(page: PageRequest) -> Answer:
    """Show a message: replies first, then every attempt, the checks, where it came from, what it says."""
    number = _number(page)
    told = await messages.explain(page.context, number)
    story = told.story
    content = await messages.content(page.context, number)
    shown = MessageText(content.octets).visible[:SHOWN_TEXT] if content else ""
    values: dict[str, Any] = {
        "id": format_id(number),
        "story": story,
        "standings": _standings(told),
        "steps": _steps(told),
        "findings": [(each, VERDICTS.get(each.verdict, "ok")) for each in story.findings],
        "origin": _origin(told),
        "suppressions": told.suppressions,
        "content": content,
        "shown": shown,
        "source": content.octets.decode("utf-8", "replace") if content else "",
        "actions": actions_of(page) if story.queued else (),
        "change": urlencode({"id": format_id(number)}),
    }
    subject = story.summary.get("subject", "").strip() or "(no subject)"
    return PageView("message.html", subject, values, [("Search", "/search")])


def _number(page: PageRequest) -> MessageId:
    number = message_id(page.path_text("id"))
    if number is None:
        raise InvalidValue("id", "this is not the id of a message: it has 26 letters and digits")
    return number


def _standings(told: MessageStory) -> list[RecipientStanding]:
    story = told.story
    queued = {entry.recipient_index: entry for entry in story.queued}
    found = []
    for n, address in enumerate(story.recipients):
        events = [each for each in story.events if each.recipient_index == n]
        tries = [each for each in events if each.kind in ATTEMPTS]
        reply = _reply(tries[-1]) if tries else ""
        rule = str(tries[-1].data.get("rule") or "") if tries else ""
        if entry := queued.get(n):
            found.append(_waiting(told, entry, reply, rule, len(tries)))
            continue
        last = next((each.kind for each in reversed(events) if each.kind in TONES), "")
        state = "refused" if story.refused else last or "no longer queued"
        tone = "bad" if story.refused else TONES.get(last, "")
        found.append(RecipientStanding(address, state, tone, story.refused or reply, rule, len(tries), ""))
    return found


def _waiting(told: MessageStory, entry: QueueEntry, reply: str, rule: str, tries: int) -> RecipientStanding:
    waits = ""
    if action := told.actions.get(entry.waits_for or 0):
        waits = f"Shaping action {action.id} ({action.name})" + (f": {action.reason}" if action.reason else "")
    elif backoff := told.backoffs.get(entry.destination):
        waits = f"Backoff of {backoff.source} to {backoff.site}, after: {backoff.reply}"
    if entry.bounce:
        return RecipientStanding(entry.address, "bouncing", "bad", entry.bounce, "", tries, "fails at once")
    match entry.state:
        case QueueState.HELD:
            why = "; ".join(map(str, entry.holds))
            return RecipientStanding(
                entry.address, "held", "warn", reply or why, rule, tries, "until it is released", None, why
            )
        case QueueState.LEASED:
            return RecipientStanding(entry.address, "in delivery", "info", reply, rule, tries, "a worker has it now")
        case _:
            words = "next attempt"
            return RecipientStanding(
                entry.address, entry.state.value, "info", reply, rule, tries, words, entry.due_at, waits
            )


def _reply(event: Event) -> str:
    return " ".join(str(event.data[key]) for key in ("code", "status", "text") if event.data.get(key))


def _steps(told: MessageStory) -> list[MessageStep]:
    story = told.story
    if story.refused:
        return [MessageStep(story.received_at, "bad", "Refused", "", story.refused)]
    number = len(story.recipients)
    steps = [MessageStep(story.received_at, "info", f"Accepted for {number} recipient{'' if number == 1 else 's'}", "")]
    tries: dict[int | None, int] = {}
    for event in story.events:
        n = event.recipient_index
        whom = story.recipients[n] if n is not None and n < len(story.recipients) else ""
        if event.kind in ATTEMPTS:
            tries[n] = tries.get(n, 0) + 1
            steps.append(_attempt(event, whom, tries[n]))
        elif event.kind in ("held", "released"):
            steps.append(MessageStep(event.at, TONES[event.kind], event.kind.capitalize(), whom, "", (_hold(event),)))
        else:
            words = WORDS.get(event.kind, event.kind.replace("_", " "))
            notes = [f"{key} {value}" for key, value in event.data.items() if value not in (None, "", True)]
            step = MessageStep(event.at, TONES.get(event.kind, ""), words.capitalize(), whom, "", (", ".join(notes),))
            steps.append(step)
    return steps


def _attempt(event: Event, whom: str, number: int) -> MessageStep:
    data, notes = event.data, []
    if "host" in data:
        notes.append(f"{data['host']} [{data['address']}], {data.get('tls') or 'not encrypted'}")
    if source := data.get("source"):
        seconds = f", {data['seconds']} s" if "seconds" in data else ""
        notes.append(f"from {source}{seconds}")
    if rule := data.get("rule"):
        notes.append(f"rule {rule}: {data.get('category')}, at fault: {data.get('fault')}")
    if until := data.get("until"):
        notes.append(f"next attempt {str(until)[:19].replace('T', ' ')} UTC")
    if data.get("delivery_unknown"):
        notes.append("no reply to the final dot: the receiver may have accepted it, and may get it twice")
    stage = f" at {data['stage']}" if "stage" in data else ""
    return MessageStep(
        event.at, TONES[event.kind], f"Attempt {number}: {event.kind}{stage}", whom, _reply(event), tuple(notes)
    )


def _hold(event: Event) -> str:
    hold = event.data["hold"]
    if event.kind == "held":
        return str(Hold(HoldSource(hold["source"]), hold["ref"], hold["text"]))
    return f"from the hold by {hold['source']}: {event.data.get('reason') or 'its cause has ended'}"


def _origin(told: MessageStory) -> list[tuple[str, Any]]:
    story, origin, summary = told.story, told.story.origin, told.story.summary
    credential = origin.get("credential")
    return [
        ("From", summary.get("from", "")),
        ("Sender", story.sender or "<>"),
        ("Message-ID", summary.get("message-id", "")),
        ("Size", f"{story.size:,} octets"),
        ("Received", f"{origin.get('protocol')} from {origin.get('client')}, {origin.get('tls') or 'not encrypted'}"),
        ("By", f"credential {credential}" if credential else "client network, or the service itself"),
        ("Session", f"{origin.get('session')}, EHLO {origin.get('hello') or '(none)'}"),
        ("Envelope", ", ".join(f"{name} {value}" for name, value in story.envelope.items())),
        ("Stream", story.stream or ""),
        ("Topic", story.topic or ""),
        ("Profile", story.profile or ""),
    ]


@routes.get("/rejections", READ)
async def rejected(page: PageRequest) -> Answer:
    """List the newest messages that were not accepted, and why."""
    size = tables.most_rows(page, REJECTIONS)
    found = await messages.rejections(page.context, limit=size + 1)
    names = await page.context.account_names() if page.is_operator else {}
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(at=("When", "time"), to=("Recipient", "name"), reply=("Our reply", "wide"), **more)
    rows = []
    for each in found[:size]:
        recipients = each.record.get("recipients", [])
        count = f"and {len(recipients) - 1} more" if len(recipients) > 1 else ""
        first = recipients[0] if recipients else "(none)"
        cells = [
            tables.at(each.received_at),
            tables.link(first, f"/messages/{format_id(each.id)}", count),
            tables.text(str(each.record.get("reply", "")).replace("\n", " ")),
        ]
        if page.is_operator:
            cells.append(tables.text(names.get(each.account_id, str(each.account_id))))
        rows.append(cells)
    table = PageTable.sorted(page, "Rejected messages", titles, rows, empty="No message was rejected.")
    table.cut = len(found) > size
    if tables.wants_csv(page):
        return table.to_csv("rejections")
    return PageView(
        "listing.html", "Rejections", {"table": table, "lead": "Messages that were not accepted, the newest first"}
    )
