"""``/v1/complaints``: complaint cases by deadline, with dossier, answers and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Query, Response
from pydantic import Field

from mta.admin import complaints
from mta.admin.errors import InvalidValue
from mta.admin.json_values import plain
from mta.mail.identity import format_id, parse_id
from mta.store.reputation.cases import CaseStory
from mta.web.api.fields import AccountFilter, AddressField, Base64, BecauseOf, Line, Model, Paragraph
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed
from mta.web.api.routing import ApiRouter, Context
from policy.reputation.complaint import Case, CaseState, Complaint, Source

router = ApiRouter("complaints")

READ, WRITE = "complaints:read", "complaints:write"
_CURSOR: Cursor[int] = Cursor(RowId)


async def _case_in_path(case: Annotated[Line, Path(max_length=20, description="Number of the case: C-17.")]) -> int:
    return complaints.parse_case(case)


CaseInPath = Annotated[int, Depends(_case_in_path)]


class CaseItem(Model):
    """``due_at``: when the clock runs out, the account's or, of an answered case, the desk's."""

    case: str
    account: str
    source: Source
    state: CaseState
    summary: str
    complaints: int
    urgent: bool
    mailing: str | None
    mailing_name: str | None
    message: str | None
    recipient: str | None
    opened_at: datetime
    due_at: datetime | None
    told_at: datetime | None
    answered_at: datetime | None
    closed_at: datetime | None
    upheld: bool | None
    costs: Sequence[Mapping[str, Any]]


class CaseEntryItem(Model):
    """One line of the history; whether there is evidence of it, as received."""

    at: datetime
    by: str
    kind: str
    data: dict[str, Any]
    has_evidence: bool


class CaseDetails(CaseItem):
    dossier: dict[str, Any] | None
    history: list[CaseEntryItem]


class NewCase(Model):
    account: Line = Field(min_length=1, max_length=64)
    source: Source = Source.RECIPIENT
    summary: Line = Field(min_length=1, max_length=500, description="The complaint in a sentence.")
    mailing: Line | None = Field(None, max_length=100, description="Id of the mailing.")
    recipient: AddressField | None = None
    message: Line | None = Field(None, max_length=40, description="Id of the message.")
    evidence: Base64 = Field(b"", description="The complaint as received.")
    urgent: bool = Field(False, description="The account is being used for spam: it is suspended at once.")


class AnswerBody(Model):
    text: Paragraph = Field(min_length=1, max_length=20_000)
    evidence: Base64 = Field(b"", description="The answer as received.")


class AgreementBody(Model):
    text: Paragraph = Field(min_length=1, max_length=20_000, description="What was agreed; sent to the account.")


class NoteBody(Model):
    text: Paragraph = Field(min_length=1, max_length=20_000)


class CloseBody(Model):
    upheld: bool
    reason: Line = Field("", max_length=500)
    may_terminate: bool = Field(False, description="One upheld case too many terminates the account: that may be.")


class CostBody(Model):
    what: Line = Field(min_length=1, max_length=200)
    amount: Line = Field(min_length=1, max_length=30)
    currency: Line = Field("EUR", min_length=3, max_length=3)


class CaseResult(Model):
    """``recipients``: queued recipients that were held, released or made to fail."""

    case: CaseItem
    recipients: int
    terminated: bool = False


def _item(case: Case) -> CaseItem:
    return CaseItem(
        case=case.number,
        account=case.account,
        source=case.source,
        state=case.state,
        summary=case.summary,
        complaints=case.complaints,
        urgent=case.urgent,
        mailing=case.mailing,
        mailing_name=case.mailing_name,
        message=format_id(case.message_id) if case.message_id else None,
        recipient=case.address,
        opened_at=case.opened_at,
        due_at=case.due_at,
        told_at=case.told_at,
        answered_at=case.answered_at,
        closed_at=case.closed_at,
        upheld=case.upheld,
        costs=[dict(each) for each in case.costs],
    )


def _details(story: CaseStory) -> CaseDetails:
    history = [
        CaseEntryItem(
            at=each.at, by=each.by, kind=each.kind.value, data=plain(each.data), has_evidence=bool(each.evidence)
        )
        for each in story.history
    ]
    dossier = plain(story.case.dossier) if story.case.dossier is not None else None
    return CaseDetails(**dict(_item(story.case)), dossier=dossier, history=history)


@router.operation("GET", "", READ, response_model=ListPage[CaseItem])
async def list_(
    context: Context,
    paging: PagingParameters,
    account: AccountFilter = None,
    state: Annotated[
        list[CaseState] | None, Query(max_length=20, description="Default: all that are not closed.")
    ] = None,
) -> Response:
    """List cases, the most urgent first."""
    states = tuple(state) if state else complaints.OPEN
    found = await complaints.list_cases(context, account=account, states=states, limit=10_000)
    places = {case.id: place for place, case in enumerate(found)}

    async def fetch(after: int | None, limit: int) -> Sequence[tuple[int, CaseItem]]:
        start = places.get(after, -1) + 1 if after is not None else 0
        return [(case.id, _item(case)) for case in found[start : start + limit]]

    return await listed(paging, CaseItem, _CURSOR, fetch)


@router.operation("POST", "", WRITE, status_code=201, operators_only=True)
async def open_(context: Context, body: NewCase) -> CaseDetails:
    """Open a case, or add a complaint to an open case about the same."""
    try:
        message = parse_id(body.message) if body.message else None
    except ValueError as error:
        raise InvalidValue("message", str(error)) from None
    owner, address = (await context.account(body.account)).account, body.recipient
    new = Complaint(
        owner.id,
        body.source,
        body.summary,
        mailing=body.mailing,
        address=str(address) if address else None,
        address_key=context.store.suppressions.key(address) if address else None,
        message_id=message,
        evidence=body.evidence,
        urgent=body.urgent,
        by=context.actor.name,
    )
    number = await complaints.open_case(context, new)
    return _details(await complaints.story(context, number))


@router.operation("GET", "/{case}", READ)
async def show(context: Context, case: CaseInPath) -> CaseDetails:
    """Return a case: its deadline, the consents when it was opened, and its history."""
    return _details(await complaints.story(context, case))


@router.operation("POST", "/{case}/answer", WRITE)
async def answer(context: Context, case: CaseInPath, body: AnswerBody) -> CaseResult:
    """Record the account's answer."""
    changed = await complaints.answer(context, case, text=body.text, evidence=body.evidence)
    return CaseResult(case=_item(changed.case), recipients=changed.recipients)


@router.operation("POST", "/{case}/reject", WRITE, operators_only=True)
async def reject(context: Context, case: CaseInPath, body: BecauseOf) -> CaseResult:
    """Reject the account's answer. The deadline runs again."""
    desk = await complaints.open_desk(context)
    changed = await complaints.reject(context, desk, case, reason=body.reason)
    return CaseResult(case=_item(changed.case), recipients=changed.recipients)


@router.operation("POST", "/{case}/accept", WRITE, operators_only=True)
async def accept(context: Context, case: CaseInPath, body: AgreementBody) -> CaseResult:
    """Accept the account's answer and what it will do. One suspended for this case resumes."""
    desk = await complaints.open_desk(context)
    changed = await complaints.accept(context, desk, case, terms=body.text)
    return CaseResult(case=_item(changed.case), recipients=changed.recipients)


@router.operation("POST", "/{case}/close", WRITE, operators_only=True)
async def close(context: Context, case: CaseInPath, body: CloseBody) -> CaseResult:
    """Close a case. Too many upheld ones terminate the account."""
    desk = await complaints.open_desk(context)
    closed = await complaints.close(
        context, desk, case, upheld=body.upheld, reason=body.reason, may_terminate=body.may_terminate
    )
    return CaseResult(case=_item(closed.case), recipients=closed.recipients, terminated=closed.terminated)


@router.operation("POST", "/{case}/costs", WRITE, operators_only=True)
async def add_cost(context: Context, case: CaseInPath, body: CostBody) -> CaseItem:
    """Record what a case has cost, to charge it to the account."""
    return _item(await complaints.add_cost(context, case, body.what, body.amount, body.currency))


@router.operation("POST", "/{case}/notes", WRITE, status_code=204, operators_only=True)
async def note(context: Context, case: CaseInPath, body: NoteBody) -> None:
    """Add a remark to the history, which the account does not see."""
    await complaints.note(context, case, body.text)
