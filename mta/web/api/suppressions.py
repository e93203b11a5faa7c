"""``/v1/suppressions``: addresses that must not be mailed, for one account or for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import AwareDatetime, Field

from mta.admin import suppressions
from mta.admin.files.import_jobs import ImportJobs
from mta.mail.identity import format_id
from mta.store.permission.suppressions import SuppressionKey
from mta.web.api.fields import AccountFilter, AddressField, AddressInPath, Line, Model
from mta.web.api.jobs import JobItem, job_item
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed
from mta.web.api.routing import ApiRouter, Context
from mta.web.api.uploads import FILE, uploaded_file
from policy.base import Suppression
from policy.permission.suppression import Reason

router = ApiRouter("suppressions")

READ, WRITE = "suppressions:read", "suppressions:write"
_Key = tuple[AwareDatetime, bytes, RowId, Line]
_CURSOR: Cursor[_Key] = Cursor(_Key)


class SuppressionItem(Model):
    """``account`` null: for all accounts. ``topic`` empty: all mail; `*`: all marketing; else marketing about it."""

    address: AddressField
    account: str | None
    topic: str
    reason_code: Reason
    detail: str
    rule: str
    since: datetime
    until: datetime | None


class SuppressionDetails(SuppressionItem):
    """``message``: the message whose failure caused it."""

    evidence: str
    message: str | None


class NewSuppression(Model):
    address: AddressField
    reason: Line = Field(min_length=1, max_length=200, description="Why; shown to senders.")
    reason_code: Reason = Field(
        Reason.MANUAL, description="An unsubscribe, objection or complaint also revokes consents."
    )
    account: Line | None = Field(None, max_length=64, description="Null: for all accounts, or the token's own.")
    topic: Line = Field("", max_length=100, description="Only marketing about this topic; `*` for all marketing.")
    expires_at: AwareDatetime | None = None


class AddedSuppression(Model):
    """``is_new``: false if it was suppressed with this reason or a stronger one. ``cancelled``: queued copies."""

    is_new: bool
    cancelled: int


class Lift(Model):
    reason: Line = Field(min_length=1, max_length=200, description="Why it may be mailed again; kept as evidence.")
    account: Line | None = Field(None, max_length=64, description="Null: that for all accounts, or the token's own.")
    topic: Line = Field("", max_length=100)
    dry_run: bool = False


class LiftedSuppression(Model):
    """``others``: suppressions of the address that still hold. ``needs_consent``: marketing needs a new consent."""

    lifted: SuppressionItem
    others: list[SuppressionItem]
    needs_consent: bool
    dry_run: bool


def _item(suppression: Suppression, names: Mapping[int, str]) -> SuppressionItem:
    number = suppression.account_id
    return SuppressionItem(
        address=suppression.address,
        account=None if number is None else names.get(number, str(number)),
        topic=suppression.topic,
        reason_code=suppression.reason,
        detail=suppression.detail,
        rule=suppression.rule,
        since=suppression.since,
        until=suppression.until,
    )


@router.operation("GET", "", READ, response_model=ListPage[SuppressionItem])
async def list_(
    context: Context,
    paging: PagingParameters,
    account: AccountFilter = None,
    everywhere: Annotated[bool, Query(alias="global", description="Only those that hold for all accounts.")] = False,
    reason_code: Reason | None = None,
) -> Response:
    """List suppressions, the newest first."""
    names = await context.account_names()

    async def fetch(after: _Key | None, limit: int) -> Sequence[tuple[_Key, SuppressionItem]]:
        before = SuppressionKey(*after) if after else None
        found = await suppressions.list_page(
            context, account=account, everywhere=everywhere, reason=reason_code, before=before, limit=limit
        )
        return [((key.since, key.address_key, key.account_id, key.topic), _item(each, names)) for key, each in found]

    return await listed(paging, SuppressionItem, _CURSOR, fetch)


@router.operation("GET", "/{address:path}", READ)
async def show(context: Context, address: AddressInPath) -> list[SuppressionDetails]:
    """Return every suppression of an address, in all scopes; an empty list if it may be mailed."""
    names = await context.account_names()
    return [
        SuppressionDetails(
            **dict(_item(each.suppression, names)),
            evidence=each.evidence,
            message=format_id(each.message_id) if each.message_id else None,
        )
        for each in await suppressions.find(context, address)
    ]


@router.operation("POST", "", WRITE, status_code=201, responses={200: {"model": AddedSuppression}})
async def add(context: Context, body: NewSuppression, response: Response) -> AddedSuppression:
    """Suppress an address and cancel queued copies to it."""
    added = await suppressions.add(
        context,
        body.address,
        reason=body.reason,
        code=body.reason_code,
        account=body.account,
        topic=body.topic,
        expires_at=body.expires_at,
    )
    response.status_code = 201 if added.is_new else 200
    return AddedSuppression(is_new=added.is_new, cancelled=added.cancelled)


@router.operation("POST", "/import", WRITE, status_code=202, openapi_extra=FILE)
async def import_(
    request: Request,
    context: Context,
    account: Annotated[
        Line | None,
        Query(max_length=64, description="For lines that name none. Default: all accounts, or the token's own."),
    ] = None,
    reason: Annotated[Line, Query(min_length=1, max_length=200, description="For lines without one.")] = "imported",
    skip_bad: Annotated[bool, Query(description="Import the good lines of a file with mistakes.")] = False,
) -> JobItem:
    """Import suppressions: JSON lines, or CSV with a header line or with addresses alone, streamed. The job tells how
    far it is, and each bad line; a file with mistakes changes nothing unless ``skip_bad``.

    A file that was interrupted may be sent again: it resumes where it stopped.
    """
    imports: ImportJobs = request.app.state.imports
    file = uploaded_file(request)
    return job_item(await imports.begin_suppressions(context, account, file, reason=reason, skip_bad=skip_bad))


@router.operation("POST", "/{address:path}/lift", WRITE)
async def lift(context: Context, address: AddressInPath, body: Lift) -> LiftedSuppression:
    """Lift a suppression. The removal is recorded; revoked consents stay revoked."""
    lifted = await suppressions.lift(
        context, address, reason=body.reason, account=body.account, topic=body.topic, dry_run=body.dry_run
    )
    names = await context.account_names()
    return LiftedSuppression(
        lifted=_item(lifted.suppression, names),
        others=[_item(each, names) for each in lifted.others],
        needs_consent=lifted.needs_consent,
        dry_run=body.dry_run,
    )
