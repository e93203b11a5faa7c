"""Lists and their origin, consents: look one up with its proof, import a file with its progress and line errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.datastructures import UploadFile

from mta.admin import consents
from mta.admin.desk import list_findings
from mta.admin.errors import InvalidValue
from mta.admin.files.import_jobs import ImportJobs, UploadedFile, find_job
from mta.admin.senders import accounts
from mta.mail.address import Address, AddressError
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect
from mta.web.pages.tables import PageTable
from policy.permission.consent import EVERY_TOPIC

routes = PageRoutes()

READ, WRITE = "consents:read", "consents:write"
MAX_FILE = 256 * 1024 * 1024  # octets of an import
PIECE = 1024 * 1024
JOBS = 20


@routes.get("/consents", READ)
async def overview(page: PageRequest) -> Answer:
    """Show lists with their origins, imports, and look an address up."""
    typed = page.query("address")
    wrong = ""
    if typed:
        try:
            return Redirect(f"/consents/{Address.parse(typed)}")
        except AddressError as error:
            wrong = str(error)
    known = await accounts.list_all(page.context)
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(name="List", origin=("Where it comes from", "wide"), state="State", **more)
    rows = []
    for details in known:
        for each in details.sources:
            cells = [
                tables.text(each.name),
                tables.text(each.origin),
                tables.badge("approved", "ok") if each.approved_at else tables.badge("waits for approval", "warn"),
            ]
            if page.is_operator:
                cells.append(tables.link(details.account.name, f"/accounts/{details.account.name}"))
            rows.append(cells)
    findings = await list_findings.list_all(page.context)
    jobs = await page.context.store.jobs.list(page.context.actor.account_id, limit=JOBS)
    values = {
        "lists": PageTable.sorted(page, "Lists", titles, rows, empty="No list is recorded."),
        "jobs": _jobs(jobs),
        "findings": findings,
        "typed": typed,
        "wrong": wrong,
    }
    return PageView("consents.html", "Lists and consents", values)


def _jobs(found: Any) -> PageTable:
    titles = tables.columns(
        number="Import", state="State", read=("Read", "number"), fresh=("New", "number"), bad=("Bad lines", "number"),
        by="By", at=("Begun", "time"),
    )  # fmt: skip
    tones = {"running": "info", "done": "ok", "failed": "bad"}
    rows = [
        [
            tables.link(f"{each.id}", f"/consents/imports/{each.id}"),
            tables.badge(each.state, tones.get(each.state, "")),
            tables.number(each.result.get("read")),
            tables.number(each.result.get("fresh")),
            tables.number(each.result.get("bad")),
            tables.text(each.created_by),
            tables.at(each.created_at),
        ]
        for each in found
    ]
    return PageTable("Imports", titles, rows, "No import yet.")


@routes.post("/consents/lists", "lists:write", again=overview)
async def add_list(page: PageRequest) -> Answer:
    """Record where a list comes from."""
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    name, origin = page.required("name", "the name"), page.required("origin", "where it comes from")
    await accounts.add_list(page.context, account, name, origin)
    return Redirect("/consents", f"List {name} recorded; an operator has to approve its origin.")


@routes.post("/consents/import", WRITE, again=overview, upload=MAX_FILE + PIECE)
async def import_file(page: PageRequest) -> Answer:
    """Begin an import; its page shows how far it is."""
    upload = page.upload("file")
    if upload is None:
        raise InvalidValue("file", "choose a file: CSV with a line of column names, or JSON lines")
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    imports: ImportJobs = page.services["imports"]
    job = await imports.begin_consents(page.context, account, UploadedFile(_pieces(upload), MAX_FILE))
    return Redirect(f"/consents/imports/{job.id}", "The import has begun.")


async def _pieces(upload: UploadFile) -> AsyncIterator[bytes]:
    while piece := await upload.read(PIECE):
        yield piece


@routes.get("/consents/imports/{job}", READ)
async def job_page(page: PageRequest) -> PageView:
    """Show how far an import is, and its bad lines."""
    text = page.path_text("job")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
    job = await find_job(page.context, number)
    titles = tables.columns(line=("Line", "number"), text=("What is wrong", "wide"))
    rows = [[tables.number(int(each.get("line", 0))), tables.text(each.get("text"))] for each in job.errors]
    values = {"job": job, "errors": PageTable("Bad lines", titles, rows, "No bad line.")}
    return PageView("consent_import.html", f"Import {job.id}", values, [("Lists and consents", "/consents")])


@routes.get("/consents/{address:path}", READ)
async def show(page: PageRequest) -> PageView:
    """Show the consents of an address, with the proof behind each."""
    address = _address(page)
    found = await consents.of(page.context, address)
    names = await page.context.account_names() if page.is_operator else {}
    shown = [
        {
            "account": names.get(each.account_id, page.context.actor.account or ""),
            "consents": each.consents,
            "proofs": each.proofs,
        }
        for each in found
    ]
    values = {"address": str(address), "found": shown}
    return PageView("consent.html", str(address), values, [("Lists and consents", "/consents")])


def _address(page: PageRequest) -> Address:
    try:
        return Address.parse(page.path_text("address").removesuffix("/revoke"))
    except AddressError as error:
        raise InvalidValue("address", str(error)) from None


@routes.post("/consents/{address:path}/revoke", WRITE, again=show)
async def revoke(page: PageRequest) -> Answer:
    """Revoke consents of an address."""
    address = _address(page)
    account = page.text("account") if page.is_operator else page.context.actor.account or ""
    topic = page.text("topic") or EVERY_TOPIC
    done = await consents.revoke(page.context, account, address, topic=topic, reason=page.text("reason"))
    return Redirect(f"/consents/{address}", f"Revoked; {done.pulled} queued copies cancelled.")
