"""The queue: counts, lists of recipients, what is held; and the changes to it, each counted before it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from mta.admin import queue
from mta.admin.errors import InvalidValue
from mta.admin.queue import QueueAction
from mta.mail.hold import HoldSource
from mta.mail.identity import format_id
from mta.mail.message import Stream
from mta.observe.labels import QueueState
from mta.store.queue.queue import By, QueueEntry, QueueFilter
from mta.web.api.listing import Cursor
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, QueryValues, Redirect, message_id
from mta.web.pages.tables import Cell, PageTable

routes = PageRoutes()

GROUPS = 200
IN_THE_API = "GET /v1/queue has them"
READ, WRITE = "queue:read", "queue:write"
AGES = (("1h", "1 hour"), ("6h", "6 hours"), ("1d", "1 day"), ("3d", "3 days"))
_HOURS = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}
_Key = tuple[str, int]
_CURSOR: Cursor[_Key] = Cursor(_Key)
TONES = {QueueState.READY: "info", QueueState.LEASED: "ok", QueueState.HELD: "warn", QueueState.DELAYED: ""}
FILTERS = (
    "id", "destination", "account", "stream", "topic", "mailing", "sender", "recipient", "state", "reply", "age",
    "held_by",
)  # fmt: skip
HOLD_WORDS = {
    HoldSource.ACCOUNT_STATUS: "the account may not send",
    HoldSource.BREAKER: "a breaker is open",
    HoldSource.MAILING: "the mailing is not confirmed, or was stopped",
    HoldSource.SAMPLING: "the first messages of the mailing are looked at",
    HoldSource.OPERATOR: "an operator holds it",
    HoldSource.REVIEW: "a person has to look at it",
}


@routes.get("/queue", READ)
async def overview(page: PageRequest) -> Answer:
    """Show counts by what is chosen."""
    choices = [each for each in By if page.is_operator or each is not By.ACCOUNT]
    by = page.query_choice("by", By) or By.DESTINATION
    by = by if by in choices else By.DESTINATION
    size = tables.most_rows(page, GROUPS)
    groups = await queue.summary(page.context, by, limit=size + 1)
    counts = await _counts(page)
    titles = tables.columns(
        key=by.value.capitalize(),
        recipients=("Recipients", "number"),
        due=("Due", "number"),
        leased=("In delivery", "number"),
        held=("Held", "number"),
        tried=("Tried", "number"),
        oldest=("Oldest", "time"),
        next=("Next attempt", "time"),
    )
    rows = []
    for each in groups[:size]:
        key = each.key.rpartition(" ")[2] if by is By.MAILING else each.key
        where = urlencode({by.value: key})
        rows.append(
            [
                tables.link(each.key or "(none)", f"/queue/list?{where}"),
                tables.number(each.recipients),
                tables.number(each.due),
                tables.number(each.leased),
                tables.number(each.held),
                tables.number(each.attempted),
                tables.at(each.oldest),
                tables.at(each.next_due),
            ]
        )
    table = PageTable.sorted(page, f"Queued recipients by {by.value}", titles, rows, empty="Nothing is queued.")
    table.cut = len(groups) > size
    if tables.wants_csv(page):
        return table.to_csv("queue")
    return PageView(
        "queue.html",
        "Queue",
        {"table": table, "by": by, "choices": choices, "counts": counts, "total": sum(counts.values())},
    )


async def _counts(page: PageRequest) -> dict[str, int]:
    """Return how many recipients are in which state: of the service cheaply, of an account by counting."""
    if page.is_operator:
        return await page.context.store.queue.count_states()
    return {each.key: each.recipients for each in await queue.summary(page.context, By.STATE)}


async def read_filter(page: PageRequest, given: Mapping[str, str]) -> QueueFilter:
    """Return the filter that the fields of a form or query make. Raises InvalidValue, NotFound."""
    number = message_id(given.get("id", "")) if given.get("id") else None
    if given.get("id") and number is None:
        raise InvalidValue("id", "this is not the id of a message: 26 letters and digits")
    age = given.get("age", "")
    typed = QueueFilter(
        messages=(number,) if number else (),
        destination=given.get("destination") or None,
        stream=_choice(Stream, given.get("stream")),
        topic=given.get("topic") or None,
        mailing=given.get("mailing") or None,
        address=given.get("recipient") or None,
        state=_choice(QueueState, given.get("state")),
        reply=given.get("reply") or None,
        sender=given.get("sender") or None,
        before=datetime.now(UTC) - timedelta(hours=_HOURS[age]) if age in _HOURS else None,
        held_by=_choice(HoldSource, given.get("held_by")),
    )
    return await queue.read_filter(page.context, typed, given.get("account") or None)


def _choice(kind: Any, value: str | None) -> Any:
    try:
        return kind(value) if value else None
    except ValueError:
        return None


def given_in(page: PageRequest) -> dict[str, str]:
    """Return the filter's fields in the query of a page."""
    return {name: value for name in FILTERS if (value := page.query(name))}


@routes.get("/queue/list", READ)
async def list_(page: PageRequest) -> Answer:
    """List queued recipients that fit a filter."""
    given = given_in(page)
    table, values = await _listing(page, given, "Queued recipients", "/queue/list")
    if tables.wants_csv(page):
        return table.to_csv("queue", IN_THE_API)
    return PageView("queue_list.html", "Queued recipients", {**values, "table": table}, [("Queue", "/queue")])


@routes.get("/held", READ)
async def held(page: PageRequest) -> Answer:
    """List what is held, and why."""
    given = {**given_in(page), "state": QueueState.HELD.value}
    table, values = await _listing(page, given, "Held recipients", "/held")
    if tables.wants_csv(page):
        return table.to_csv("held", IN_THE_API)
    words = [(each.value, HOLD_WORDS[each]) for each in HoldSource]
    return PageView("held.html", "Held", {**values, "table": table, "sources": words})


async def _listing(
    page: PageRequest, given: Mapping[str, str], caption: str, path: str
) -> tuple[PageTable, dict[str, Any]]:
    which = await read_filter(page, given)
    size = tables.most_rows(page)
    after = _CURSOR.decode(page.query("cursor")) if page.query("cursor") else None
    key = (message_id(after[0]), after[1]) if after else None
    place = (key[0], key[1]) if key and key[0] else None
    found = await queue.entries(page.context, which, after=place, limit=size + 1)
    table = PageTable(caption, _titles(page), [_row(page, each) for each in found[:size]], "No recipient fits.")
    table.cut = len(found) > size
    if table.cut:
        last = found[size - 1]
        table.following = page.here(cursor=_CURSOR.encode((format_id(last.message_id), last.recipient_index)))
    if after:
        table.first = page.here(cursor=None)
    table.csv = page.here(format="csv", cursor=None)
    kept = {name: value for name, value in given.items() if name in FILTERS}
    values = {
        "given": QueryValues(given),
        "filter": queue.described(queue.own(page.context, which)),
        "change": urlencode(kept),
        "ages": AGES,
        "streams": [(each.value, each.value) for each in Stream],
        "states": [(each.value, each.value) for each in QueueState],
        "holds": [(each.value, each.value.replace("_", " ")) for each in HoldSource],
        "actions": actions_of(page),
    }
    return table, values


def actions_of(page: PageRequest) -> Sequence[QueueAction]:
    """Return what the user may do with queued recipients."""
    if not page.may(WRITE):
        return ()
    return tuple(QueueAction) if page.is_operator else (QueueAction.BOUNCE,)


def _titles(page: PageRequest) -> list[tables.TableColumn]:
    more = {"account": "Account"} if page.is_operator else {}
    return tables.columns(
        recipient=("Recipient", "name"),
        state="State",
        reason=("Reason", "wide"),
        next=("Next attempt", "time"),
        tries=("Tries", "number"),
        accepted=("Accepted", "time"),
        **more,
    )


def _row(page: PageRequest, entry: QueueEntry) -> list[Cell]:
    state = "bouncing" if entry.bounce else entry.state.value
    reason = entry.bounce or " / ".join(map(str, entry.holds)) or entry.last_reply or ""
    cells = [
        tables.link(entry.address, f"/messages/{format_id(entry.message_id)}", f"from {entry.sender or '<>'}"),
        tables.badge(state, "bad" if entry.bounce else TONES[entry.state]),
        tables.text(reason.replace("\n", " / ")),
        tables.at(entry.due_at) if entry.state in (QueueState.READY, QueueState.DELAYED) else Cell(),
        tables.number(entry.attempts),
        tables.at(entry.queued_at),
    ]
    if page.is_operator:
        name = entry.account or str(entry.account_id)
        cells.append(tables.link(name, f"/accounts/{quote(name)}") if entry.account else tables.text(name))
    return cells


@routes.get("/queue/change", WRITE)
async def change_form(page: PageRequest) -> PageView:
    """Count what a change would mean, and ask for it."""
    given = given_in(page) or {name: value for name in FILTERS if (value := page.text(name))}
    wanted = page.query_choice("action", QueueAction) or _choice(QueueAction, page.text("action"))
    if wanted not in actions_of(page):
        raise InvalidValue("action", "this cannot be done with queued recipients")
    which = await read_filter(page, given)
    counted = await queue.change(page.context, wanted, which, dry_run=True, everything=True)
    values = {
        "action": wanted,
        "given": QueryValues(given),
        "filter": queue.described(queue.own(page.context, which)),
        "counted": counted.change,
        "everything": which.is_everything,
        "back": f"/queue/list?{urlencode(given)}",
    }
    return PageView(
        "queue_change.html", f"{wanted.value.capitalize()} queued recipients", values, [("Queue", "/queue")]
    )


@routes.post("/queue/change", WRITE, again=change_form)
async def change(page: PageRequest) -> Answer:
    """Make a change to queued recipients."""
    given = {name: value for name in FILTERS if (value := page.text(name))}
    action = page.choice("action", QueueAction)
    which = await read_filter(page, given)
    reason = page.text("reason") if action is QueueAction.RETRY else page.required("reason", "the reason")
    changed = await queue.change(page.context, action, which, reason=reason, everything=page.ticked("everything"))
    made = changed.change
    words = [f"{made.recipients:,} recipient{'' if made.recipients == 1 else 's'} {action.result}."]
    if changed.backoffs:
        words.append(f"{changed.backoffs} backoff{'' if changed.backoffs == 1 else 's'} ended.")
    if made.still_held:
        words.append(f"{made.still_held} have other holds and wait for these.")
    if made.leased:
        words.append(f"{made.leased} are with a worker: an attempt that has begun is not stopped.")
    number = message_id(given.get("id", ""))
    to = f"/messages/{format_id(number)}" if number else "/held" if action is QueueAction.RELEASE else "/queue"
    return Redirect(to, " ".join(words))
