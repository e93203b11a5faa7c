"""Suppressions: search, list, add one or many, lift with a reason."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import AwareDatetime

from mta.admin import suppressions
from mta.admin.errors import AdminError, InvalidValue
from mta.mail.address import Address, AddressError
from mta.mail.identity import format_id
from mta.store.permission.suppressions import SuppressionKey
from mta.web.api.listing import Cursor
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, QueryValues, Redirect
from mta.web.pages.tables import PageTable
from policy.base import Suppression
from policy.permission.suppression import Reason

routes = PageRoutes()

READ, WRITE = "suppressions:read", "suppressions:write"
MAX_ADDRESSES = 5000  # of one form
BAD_LINES = 20  # that are shown
_Key = tuple[AwareDatetime, bytes, int, str]
_CURSOR: Cursor[_Key] = Cursor(_Key)
REASONS = [(each.value, each.value.replace("_", " ")) for each in Reason]


@routes.get("/suppressions", READ)
async def list_(page: PageRequest) -> Answer:
    """List suppressions, or those of one address."""
    typed, wrong = page.query("address"), ""
    if typed:
        try:
            return Redirect(f"/suppressions/{Address.parse(typed)}")
        except AddressError as error:
            wrong = str(error)
    given = QueryValues({name: page.query(name) for name in ("account", "reason", "scope") if page.query(name)})
    names = await page.context.account_names() if page.is_operator else {}
    size = tables.most_rows(page)
    after = _CURSOR.decode(page.query("cursor")) if page.query("cursor") else None
    found = await suppressions.list_page(
        page.context,
        account=given["account"] or None,
        everywhere=given["scope"] == "all" and page.is_operator,
        reason=page.query_choice("reason", Reason),
        before=SuppressionKey(*after) if after else None,
        limit=size + 1,
    )
    table = PageTable("Suppressions", _titles(page), [_row(page, each, names) for _, each in found[:size]], "None.")
    table.cut = len(found) > size
    if table.cut:
        key = found[size - 1][0]
        table.following = page.here(cursor=_CURSOR.encode((key.since, key.address_key, key.account_id, key.topic)))
    table.first = page.here(cursor=None) if after else ""
    table.csv = page.here(format="csv", cursor=None)
    if tables.wants_csv(page):
        return table.to_csv("suppressions", "GET /v1/suppressions has them")
    values = {"table": table, "given": given, "reasons": REASONS, "typed": typed, "wrong": wrong}
    return PageView("suppressions.html", "Suppressions", values)


def _titles(page: PageRequest) -> list[tables.TableColumn]:
    more = {"account": "For"} if page.is_operator else {}
    return tables.columns(
        address=("Address", "name"), reason="Reason", detail=("Why", "wide"), topic="Topic", since=("Since", "time"),
        until=("Until", "time"), **more,
    )  # fmt: skip


def _row(page: PageRequest, each: Suppression, names: Mapping[int, str]) -> list[tables.Cell]:
    cells = [
        tables.link(each.address, f"/suppressions/{each.address}"),
        tables.badge(each.reason.value.replace("_", " "), "bad" if each.reason.withdraws else ""),
        tables.text(each.detail),
        tables.text(_topic(each.topic)),
        tables.at(each.since),
        tables.at(each.until),
    ]
    if page.is_operator:
        whom = "all accounts" if each.account_id is None else names.get(each.account_id, str(each.account_id))
        cells.append(tables.text(whom))
    return cells


def _topic(topic: str) -> str:
    return {"": "all mail", "*": "all marketing"}.get(topic, topic)


@routes.post("/suppressions", WRITE, again=list_)
async def add(page: PageRequest) -> Answer:
    """Suppress addresses, one a line. All lines are read before any is suppressed."""
    addresses = _addresses(page.required("addresses", "the address"))
    code = page.choice("code", Reason)
    reason = page.required("reason", "the reason")
    until = page.moment("until")
    account = page.text("account") or None
    new = cancelled = 0
    for address in addresses:
        added = await suppressions.add(
            page.context, address, reason=reason, code=code, account=account, topic=page.text("topic"), expires_at=until
        )
        new, cancelled = new + added.is_new, cancelled + added.cancelled
    words = f"{new} of {len(addresses)} suppressed" if len(addresses) > 1 else f"{addresses[0]} suppressed"
    return Redirect("/suppressions", f"{words}; {cancelled} queued copies cancelled.")


@routes.post("/suppressions/lift", WRITE, again=list_)
async def lift_many(page: PageRequest) -> Answer:
    """Lift suppressions of addresses, one a line. All lines are read before any is lifted."""
    addresses = _addresses(page.required("addresses", "the address"))
    reason, account = page.required("reason", "the reason"), page.text("account") or None
    not_lifted = []
    for address in addresses:
        try:
            await suppressions.lift(page.context, address, reason=reason, account=account, topic=page.text("topic"))
        except AdminError as error:
            not_lifted.append(str(error))
    words = [f"{len(addresses) - len(not_lifted)} of {len(addresses)} lifted.", *not_lifted[:BAD_LINES]]
    if len(not_lifted) > BAD_LINES:
        words.append(f"and {len(not_lifted) - BAD_LINES} more")
    return Redirect("/suppressions", " ".join(words), "warn" if not_lifted else "ok")


def _addresses(text: str) -> list[Address]:
    """Return the addresses of the lines. Raises InvalidValue, which names every line that is none."""
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) > MAX_ADDRESSES:
        raise InvalidValue("addresses", f"at most {MAX_ADDRESSES} at once; for more: mta suppression import FILE")
    found, wrong = [], []
    for number, line in lines:
        try:
            found.append(Address.parse(line))
        except AddressError as error:
            wrong.append(f"line {number}: {error}")
    if wrong:
        more = f" and {len(wrong) - BAD_LINES} more" if len(wrong) > BAD_LINES else ""
        raise InvalidValue("addresses", "; ".join(wrong[:BAD_LINES]) + more)
    return found


@routes.get("/suppressions/{address:path}", READ)
async def show(page: PageRequest) -> PageView:
    """Show every suppression of an address."""
    address = _address(page)
    found = await suppressions.find(page.context, address)
    names = await page.context.account_names() if page.is_operator else {}
    shown = [
        {
            "suppression": each.suppression,
            "whom": "all accounts" if each.suppression.account_id is None
            else names.get(each.suppression.account_id, page.context.actor.account or ""),
            "account": "" if each.suppression.account_id is None
            else names.get(each.suppression.account_id, page.context.actor.account or ""),
            "topic": _topic(each.suppression.topic),
            "evidence": each.evidence,
            "message": format_id(each.message_id) if each.message_id else "",
        }
        for each in found
    ]  # fmt: skip
    values = {"address": str(address), "found": shown, "lifted": page.query("lifted")}
    return PageView("suppression.html", str(address), values, [("Suppressions", "/suppressions")])


def _address(page: PageRequest) -> Address:
    try:
        return Address.parse(page.path_text("address").removesuffix("/lift"))
    except AddressError as error:
        raise InvalidValue("address", str(error)) from None


@routes.post("/suppressions/{address:path}/lift", WRITE, again=show)
async def lift(page: PageRequest) -> Answer:
    """Lift one suppression, with a reason."""
    address = _address(page)
    lifted = await suppressions.lift(
        page.context,
        address,
        reason=page.text("reason"),
        account=page.text("account") or None,
        topic=page.text("topic"),
    )
    words = [f"The suppression of {address} is lifted."]
    if lifted.others:
        words.append(f"{len(lifted.others)} other suppressions of it still hold.")
    if lifted.needs_consent:
        words.append("Marketing needs a new consent.")
    return Redirect(f"/suppressions/{address}", " ".join(words), "warn" if lifted.others else "ok")
