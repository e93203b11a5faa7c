"""Credentials of applications: list, make, replace, revoke.

Invariants: a secret is shown once, when it is made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mta.admin.context import AdminContext
from mta.admin.errors import InvalidValue
from mta.admin.senders import accounts, credentials
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable

routes = PageRoutes()

OVERLAPS = (("0h", "at once"), ("1h", "1 hour"), ("24h", "1 day"), ("168h", "1 week"))
_OVERLAPS = {"0h": 0, "1h": 1, "24h": 24, "168h": 168}


@routes.get("/credentials", "credentials:read")
async def credential_list(page: PageRequest) -> Answer:
    """List credentials."""
    return await _credentials(page.context, page)


async def _credentials(context: AdminContext, page: PageRequest, made: dict[str, str] | None = None) -> PageView:
    known = await accounts.list_all(context)
    more: dict[str, Any] = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        name=("User name", "mono"), may="May send", state="State", at=("Made", "time"), **more, act=("", "act")
    )
    rows = []
    for details in known:
        for each in details.credentials:
            streams = ", ".join(sorted(one.value for one in each.grant.streams or ())) or "as its profile"
            valid = credentials.is_valid(each)
            cells = [
                tables.text(each.username),
                tables.text(streams, ", ".join(sorted(each.grant.domains)) if each.grant.domains else ""),
                tables.badge("valid", "ok") if valid else tables.badge("revoked"),
                tables.at(each.created_at),
            ]
            if page.is_operator:
                cells.append(tables.link(details.account.name, f"/accounts/{details.account.name}"))
            act = tables.act("Revoke", "/credentials/revoke", reason=True, danger=True, username=each.username)
            cells.append(act if valid and page.may("credentials:write") else tables.Cell())
            rows.append(cells)
    valid_names = [
        (each.username, each.username) for one in known for each in one.credentials if credentials.is_valid(each)
    ]
    values = {
        "table": PageTable("Credentials", titles, rows, "No credential."),
        "made": made,
        "overlaps": OVERLAPS,
        "valid": valid_names,
    }
    return PageView("credentials.html", "Credentials", values)


@routes.post("/credentials", "credentials:write", again=credential_list)
async def add_credential(page: PageRequest) -> Answer:
    """Make a credential, and show its secret, once."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    login = await credentials.add(page.context, account, page.text("username") or None)
    return await _credentials(page.context, page, {"username": login.username, "secret": login.secret})


@routes.post("/credentials/rotate", "credentials:write", again=credential_list)
async def rotate(page: PageRequest) -> Answer:
    """Replace a credential, and show the new secret, once."""
    hours = _OVERLAPS.get(page.text("overlap"))
    if hours is None:
        raise InvalidValue("overlap", "choose how long the old one works on")
    username = page.required("username", "the credential")
    login, _ = await credentials.rotate(page.context, username, overlap=timedelta(hours=hours))
    return await _credentials(page.context, page, {"username": login.username, "secret": login.secret})


@routes.post("/credentials/revoke", "credentials:write", again=credential_list)
async def revoke(page: PageRequest) -> Answer:
    """Revoke a credential."""
    username = page.text("username")
    await credentials.revoke(page.context, username, reason=page.required("reason", "the reason"))
    return Redirect("/credentials", f"{username} is revoked, live sessions included.")
