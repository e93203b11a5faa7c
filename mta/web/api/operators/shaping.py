"""``/v1/shaping/actions``: what is suspended, slowed down or sent elsewhere, by whom and until when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from mta.admin import shaping
from mta.mail.message import Stream
from mta.mail.shaping_action import ActionScope, Effect, ShapingAction
from mta.web.api.fields import DomainField, DryRun, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("shaping")

READ, WRITE = "shaping:read", "shaping:write"
_CURSOR: Cursor[int] = Cursor(RowId)
ActionName = Annotated[Line, Path(max_length=100, description="Number of the action, or the name of a rule.")]


class ActionScopeBody(Model):
    """Which mail is meant: what fits all that is given."""

    source: Line | None = Field(None, max_length=100)
    site: Line | None = Field(None, max_length=400)
    domain: DomainField | None = None
    account: Line | None = Field(None, max_length=64)
    mailing: Line | None = Field(None, max_length=100, description="Id of the mailing.")
    stream: Stream | None = None


class NewActionBody(Model):
    """``pool``: the mail leaves from there; null: it is suspended. ``seconds``: how long, at most 30 days."""

    scope: ActionScopeBody
    pool: Line | None = Field(None, max_length=100)
    seconds: float = Field(gt=0, le=30 * 86400)
    reason: Line = Field(min_length=1, max_length=500)


class ActionItem(Model):
    id: int
    name: str
    rule: str
    scope: dict[str, Any]
    effect: Effect
    connections: int | None
    message_rates: list[str]
    pool: str | None
    reason: str
    sample: str
    author: str
    in_force: bool
    created_at: datetime
    expires_at: datetime
    cancelled_at: datetime | None
    cancelled_by: str | None
    cancel_reason: str | None


class ActionDetailsItem(ActionItem):
    """``waiting``: queued recipients that it has put off."""

    waiting: int


class CancelledActionsItem(Model):
    """``due``: recipients that are due now; with ``dry_run`` how many wait."""

    actions: list[int]
    due: int


def action_item(action: ShapingAction, names: Mapping[int, str]) -> ActionItem:
    scope: dict[str, Any] = dict(action.scope.fields)
    if (number := scope.pop("account_id", None)) is not None:
        scope["account"] = names.get(number, str(number))
    values = {name: getattr(action, name) for name in ActionItem.model_fields if name not in ("scope", "in_force")}
    values |= {"scope": scope, "in_force": action.in_force(datetime.now(UTC))}
    return ActionItem(**values | {"message_rates": list(action.message_rates)})


@router.operation("GET", "/actions", READ, response_model=ListPage[ActionItem])
async def list_actions(
    context: Context, paging: PagingParameters, all: Annotated[bool, Query(description="Ended ones too.")] = False
) -> Response:
    """List the actions in force, the newest first."""
    names = await context.account_names()
    found = await shaping.list_actions(context, ended=all, limit=10_000)
    items = sorted(((each.id, action_item(each, names)) for each in found), key=lambda pair: pair[0], reverse=True)
    return await listed_from(paging, ActionItem, _CURSOR, items, newest_first=True)


@router.operation("GET", "/actions/{action}", READ)
async def show_action(context: Context, action: ActionName) -> list[ActionDetailsItem]:
    """Return an action, or all in force of a rule, with how many recipients wait for it."""
    names, found = await context.account_names(), await shaping.find(context, action)
    return [ActionDetailsItem(**dict(action_item(each.action, names)), waiting=each.waiting) for each in found]


@router.operation("POST", "/actions", WRITE, status_code=201)
async def begin(context: Context, body: NewActionBody) -> ActionItem:
    """Suspend mail, or let it leave from another pool, now and later, until the end."""
    given, span = body.scope, timedelta(seconds=body.seconds)
    scope = ActionScope(
        source=given.source,
        site=given.site,
        domain=given.domain,
        account_id=None if given.account is None else (await context.account(given.account)).account.id,
        mailing=given.mailing,
        stream=given.stream,
    )
    if body.pool is None:
        action = await shaping.pause(context, scope, span=span, reason=body.reason)
    else:
        action = await shaping.reroute(context, scope, body.pool, span=span, reason=body.reason)
    return action_item(action, await context.account_names())


@router.operation("POST", "/actions/{action}/cancel", WRITE)
async def cancel(context: Context, action: ActionName, body: DryRun) -> CancelledActionsItem:
    """Cancel an action, or all in force of a rule; what waits for them is due now."""
    found = await shaping.find(context, action)
    if body.dry_run:
        return CancelledActionsItem(actions=[each.action.id for each in found], due=sum(each.waiting for each in found))
    done = await shaping.cancel(context, found, reason=body.reason)
    return CancelledActionsItem(actions=[each.id for each in done.actions], due=done.due)
