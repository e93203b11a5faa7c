"""``/v1/breakers``: circuit breakers, which hold the mail of mailings and accounts because of what came back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from mta.admin import breakers
from mta.admin.errors import InvalidValue
from mta.admin.json_values import plain
from mta.mail.identity import parse_id
from mta.store.reputation.breakers import Tripped
from mta.web.api.fields import DryRun, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("breakers")

READ, WRITE = "breakers:read", "breakers:write"
_CURSOR: Cursor[int] = Cursor(RowId)
BreakerName = Annotated[Line, Path(max_length=400, description="Name of the breaker.")]


class BreakerItem(Model):
    """``scope``: the mailing, or the account at a provider."""

    name: str
    account: str | None
    scope: dict[str, Any]
    kind: str
    words: str
    rate: float
    ceiling: float
    volume: int
    cases: int
    case: str | None
    tripped_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None
    reason: str | None


class BreakerDetails(Model):
    """``held``: recipients that it holds now; ``history``: each time that it tripped, the newest first."""

    held: int
    history: list[BreakerItem]


class CancelledBreaker(Model):
    """``released``: recipients; with ``dry_run`` how many would be."""

    released: int


class TrapHitBody(Model):
    message: Line = Field(min_length=1, max_length=40, description="Id of the message that hit the trap.")


def _item(tripped: Tripped, names: Mapping[int, str]) -> BreakerItem:
    scope: dict[str, Any] = plain(tripped.scope)
    scope.pop("account_id", None)
    return BreakerItem(
        name=tripped.name,
        account=names.get(tripped.scope.account_id),
        scope=scope,
        kind=tripped.kind.value,
        words=tripped.words,
        rate=tripped.rate,
        ceiling=tripped.ceiling,
        volume=tripped.volume,
        cases=tripped.cases,
        case=None if tripped.case_id is None else f"C-{tripped.case_id}",
        tripped_at=tripped.tripped_at,
        cancelled_at=tripped.cancelled_at,
        cancelled_by=tripped.cancelled_by,
        reason=tripped.reset_reason,
    )


@router.operation("GET", "", READ, response_model=ListPage[BreakerItem])
async def list_(
    context: Context, paging: PagingParameters, all: Annotated[bool, Query(description="Cancelled ones too.")] = False
) -> Response:
    """List open breakers, the newest first."""
    names = await context.account_names()
    found = await breakers.list_trips(context, cancelled=all, limit=10_000)
    items = sorted(((each.id, _item(each, names)) for each in found), key=lambda pair: pair[0], reverse=True)
    return await listed_from(paging, BreakerItem, _CURSOR, items, newest_first=True)


@router.operation("POST", "/trap-hits", WRITE, status_code=204)
async def record_trap_hit(context: Context, body: TrapHitBody) -> None:
    """Count a spam trap hit that a blocklist operator or provider has reported."""
    try:
        message = parse_id(body.message)
    except ValueError as error:
        raise InvalidValue("message", str(error)) from None
    await breakers.record_trap_hit(context, message)


@router.operation("GET", "/{name}", READ)
async def show(context: Context, name: BreakerName) -> BreakerDetails:
    """Return a breaker with what it holds and each time that it tripped."""
    names, story = await context.account_names(), await breakers.story(context, name)
    return BreakerDetails(held=story.held, history=[_item(each, names) for each in story.trips])


@router.operation("POST", "/{name}/cancel", WRITE)
async def cancel(context: Context, name: BreakerName, body: DryRun) -> CancelledBreaker:
    """Cancel a breaker and release what it holds. What was counted so far does not trip it again."""
    cancelled = await breakers.cancel(context, name, reason=body.reason, dry_run=body.dry_run)
    return CancelledBreaker(released=cancelled.released)
