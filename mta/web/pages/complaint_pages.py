"""Complaints: by deadline, with the dossier as it was, the history, and a box to answer or decide in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from mta.admin import complaints
from mta.admin.errors import InvalidValue, NotFound, Refused
from mta.mail.identity import format_id
from mta.store.reputation.cases import CaseEntry, CaseStory
from mta.web.pages import tables
from mta.web.pages.frame import Answer, PageRequest, PageRoutes, PageView, Redirect, message_id
from mta.web.pages.rendering import span
from mta.web.pages.tables import PageTable
from policy.languages import TextLanguage
from policy.reputation.complaint import Case, CaseEventKind, CaseState, Complaint, Source

routes = PageRoutes()

READ, WRITE = "complaints:read", "complaints:write"
SHOWN = 500
EVIDENCE = 64 * 1024  # octets
STATES = {
    CaseState.OPEN: ("the account is told within moments", "info"),
    CaseState.SENT: ("waits for the account", "info"),
    CaseState.ANSWERED: ("answered: waits for a decision", "warn"),
    CaseState.AGREED: ("agreed: to be closed when done", "ok"),
    CaseState.CLOSED: ("closed", ""),
    CaseState.OVERDUE: ("overdue", "bad"),
    CaseState.SUSPENDED: ("the account is suspended for it", "bad"),
}
TONES = {
    CaseEventKind.ANSWERED: "info", CaseEventKind.AGREED: "ok", CaseEventKind.CLOSED: "ok",
    CaseEventKind.OVERDUE: "bad", CaseEventKind.SUSPENDED: "bad", CaseEventKind.REJECTED: "warn",
    CaseEventKind.OPENED: "bad", CaseEventKind.COMPLAINT: "bad",
}  # fmt: skip
ANSWERABLE = (CaseState.SENT, CaseState.OVERDUE, CaseState.SUSPENDED)
SOURCES = [(each.value, each.value.replace("_", " ")) for each in Source if each is not Source.BREAKER]


@routes.get("/complaints", READ)
async def list_(page: PageRequest) -> Answer:
    """List cases, the most urgent first."""
    closed = bool(page.query("closed"))
    states = [CaseState.CLOSED] if closed else complaints.OPEN
    size = tables.most_rows(page, SHOWN)
    found = await complaints.list_cases(
        page.context, account=page.query("account") or None, states=states, limit=size + 1
    )
    more = {"account": "Account"} if page.is_operator else {}
    titles = tables.columns(
        number="Case", due="Clock", summary=("What", "wide"), state="State", source="From", opened=("Opened", "time"),
        **more,
    )  # fmt: skip
    rows = [_row(page, each) for each in found[:size]]
    table = PageTable.sorted(page, "Complaints", titles, rows, empty="No case.")
    table.cut = len(found) > size
    if tables.wants_csv(page):
        return table.to_csv("complaints")
    values = {"table": table, "closed": closed, "sources": SOURCES, "account": page.query("account")}
    return PageView("complaints.html", "Complaints", values)


def _row(page: PageRequest, case: Case) -> list[tables.Cell]:
    words, tone = STATES[case.state]
    clock, clock_tone = clock_of(case)
    cells = [
        tables.link(case.number, f"/complaints/{case.id}", "urgent" if case.urgent else ""),
        tables.Cell(clock, tone=clock_tone, sort=case.due_at.timestamp() if case.due_at else 1e12),
        tables.text(case.summary, case.mailing_name or ""),
        tables.badge(words, tone),
        tables.text(case.source.value.replace("_", " ")),
        tables.at(case.opened_at),
    ]
    if page.is_operator:
        cells.append(tables.link(case.account, f"/accounts/{case.account}"))
    return cells


def clock_of(case: Case) -> tuple[str, str | None]:
    """Return what a case's clock says, and its tone."""
    if case.state is CaseState.CLOSED:
        return ("", None) if case.upheld is None else ("justified", "bad") if case.upheld else ("unfounded", "ok")
    if case.due_at is None:
        return "no clock", None
    left = (case.due_at - datetime.now(UTC)).total_seconds()
    who = "desk, " if case.waits_for_desk else ""
    if left < 0:
        return f"{who}{span(-left)} over", "bad"
    return f"{who}{span(left)} left", "warn" if left < 6 * 3600 else "info"


@routes.get("/complaints/{case}", READ)
async def show(page: PageRequest) -> PageView:
    """Show a case with everything that is known, and what can be done now."""
    story = await complaints.story(page.context, _number(page))
    case = story.case
    words, tone = STATES[case.state]
    clock, clock_tone = clock_of(case)
    values: dict[str, Any] = {
        "case": case,
        "state": words,
        "tone": tone,
        "clock": clock,
        "clock_tone": clock_tone,
        "message": format_id(case.message_id) if case.message_id else "",
        "history": [_entry(each) for each in story.history],
        "dossier": case.dossier,
        "languages": [each.value for each in TextLanguage],
        "can": _can(page, case),
        "terminates": await _terminates(page, story),
    }
    return PageView("complaint.html", f"{case.number}: {case.summary}", values, [("Complaints", "/complaints")])


@routes.get("/complaints/{case}/dossier", READ)
async def dossier_file(page: PageRequest) -> Response:
    """Return the dossier of a case as PDF, in the language asked for."""
    number, language = _number(page), page.query_choice("language", TextLanguage) or TextLanguage.EN
    content = await complaints.dossier_pdf(page.context, number, language)
    headers = {"Content-Disposition": f'attachment; filename="C-{number}-{language.value}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)


def _number(page: PageRequest) -> int:
    text = page.path_text("case").upper().removeprefix("C-")
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise NotFound(f"there is no case {text}")
    return int(text)


def _can(page: PageRequest, case: Case) -> frozenset[str]:
    """Return what the user can do with a case in its state."""
    if not page.may(WRITE) or case.state is CaseState.CLOSED:
        return frozenset()
    can = set()
    if case.state in ANSWERABLE and not case.waits_for_desk:
        can.add("answer")
    if page.is_operator:
        can |= {"note", "close"}
        if case.waits_for_desk:
            can |= {"accept", "reject"}
    return frozenset(can)


async def _terminates(page: PageRequest, story: CaseStory) -> complaints.Termination | None:
    if "close" not in _can(page, story.case):
        return None
    try:
        return await complaints.termination(page.context, await complaints.open_desk(page.context), story.case.id)
    except Refused:
        return None


def _entry(entry: CaseEntry) -> Mapping[str, Any]:
    data = entry.data
    said = next((str(data[name]) for name in ("text", "terms", "reason", "summary") if data.get(name)), "")
    if entry.kind is CaseEventKind.COST:
        said = f"{data['what']}: {data['amount']} {data['currency']}"
    notes = [f"{data['recipients']} recipients"] if data.get("recipients") else []
    evidence = entry.evidence.decode("utf-8", "replace") if entry.evidence else ""
    title = entry.kind.value.replace("_", " ").capitalize()
    return {
        "at": entry.at, "by": entry.by, "title": title, "tone": TONES.get(entry.kind, ""), "said": said,
        "notes": ", ".join(notes), "evidence": evidence,
    }  # fmt: skip


@routes.post("/complaints", WRITE, again=list_, operator=True)
async def open_(page: PageRequest) -> Answer:
    """Open a case by hand."""
    account = (await page.context.account(page.required("account", "the account"))).account
    about = page.text("message")
    number = message_id(about) if about else None
    if about and number is None:
        raise InvalidValue("message", "this is not the id of a message: 26 letters and digits")
    case_id = await complaints.open_case(
        page.context,
        Complaint(
            account.id,
            page.choice("source", Source),
            page.required("summary", "what it is about"),
            by=page.context.actor.name,
            mailing=page.text("mailing") or None,
            message_id=number,
            address=str(page.address("address")) if page.text("address") else None,
            urgent=page.ticked("urgent"),
        ),
    )
    return Redirect(f"/complaints/{case_id}", f"Case C-{case_id} is opened; the account is told.")


@routes.post("/complaints/{case}/answer", WRITE, again=show)
async def answer(page: PageRequest) -> Answer:
    """Record the account's answer."""
    number = _number(page)
    upload = page.upload("evidence")
    evidence = await upload.read(EVIDENCE) if upload else b""
    await complaints.answer(page.context, number, text=page.text("text"), evidence=evidence)
    return Redirect(f"/complaints/{number}", "Answered. The clock of the account stands still until it is decided.")


@routes.post("/complaints/{case}/accept", WRITE, again=show, operator=True)
async def accept(page: PageRequest) -> Answer:
    """Accept the answer."""
    number = _number(page)
    done = await complaints.accept(
        page.context, await complaints.open_desk(page.context), number, terms=page.text("terms")
    )
    released = f" {done.recipients} recipients were released." if done.recipients else ""
    return Redirect(f"/complaints/{number}", f"Accepted; the account is told.{released}")


@routes.post("/complaints/{case}/reject", WRITE, again=show, operator=True)
async def reject(page: PageRequest) -> Answer:
    """Reject the answer."""
    number = _number(page)
    await complaints.reject(page.context, await complaints.open_desk(page.context), number, reason=page.text("reason"))
    return Redirect(f"/complaints/{number}", "Rejected; the account is told, and its clock runs again.", "warn")


@routes.post("/complaints/{case}/close", WRITE, again=show, operator=True)
async def close(page: PageRequest) -> Answer:
    """Close a case."""
    number, verdict = _number(page), page.text("verdict")
    if verdict not in ("justified", "unfounded"):
        raise InvalidValue("verdict", "was the complaint justified? choose one")
    done = await complaints.close(
        page.context,
        await complaints.open_desk(page.context),
        number,
        upheld=verdict == "justified",
        reason=page.text("reason"),
        may_terminate=page.ticked("terminate"),
    )
    ended = f" Account {done.case.account} is terminated." if done.terminated else ""
    return Redirect(f"/complaints/{number}", f"Closed as {verdict}.{ended}")


@routes.post("/complaints/{case}/note", WRITE, again=show, operator=True)
async def note(page: PageRequest) -> Answer:
    """Add a remark to the history."""
    number = _number(page)
    await complaints.note(page.context, number, page.text("text"))
    return Redirect(f"/complaints/{number}", "Note added.")
