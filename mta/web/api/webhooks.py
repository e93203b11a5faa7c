"""``/v1/webhooks``: where an account's events are sent; how far each has come; replay and rotate."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path, Response
from pydantic import Field

from mta.admin import webhooks
from mta.store.journal.webhooks import WebhookDetails
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, Because, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("webhooks")

READ, WRITE = "webhooks:read", "webhooks:write"
_CURSOR: Cursor[int] = Cursor(RowId)
WebhookNumber = Annotated[int, Path(ge=1, lt=2**63, description="Number of the webhook.")]


class WebhookItem(Model):
    """``cursor``: the event up to which it has accepted; ``waiting``: events that it has not."""

    id: int
    account: str
    url: str
    kinds: list[str]
    cursor: int
    failures: int
    last_error: str | None
    due_at: datetime
    last_success_at: datetime | None
    paused_at: datetime | None
    created_at: datetime
    waiting: int
    oldest: datetime | None


class NewWebhook(Model):
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    url: Line = Field(min_length=1, max_length=2000)
    kinds: list[Line] = Field([], max_length=50, description="Only events of these kinds; empty: all.")
    paused: bool = False


class MadeWebhook(Model):
    """``secret``: what the receiver checks signatures with; it is shown once."""

    webhook: WebhookItem
    secret: str


class WebhookSecret(Model):
    secret: str


class WebhookTestResult(Model):
    """``problem``: why the receiver did not accept it."""

    accepted: bool
    problem: str | None


class ReplayBody(Model):
    after: int = Field(ge=0, lt=2**63, description="Everything behind this event is sent again.")


def _item(details: WebhookDetails) -> WebhookItem:
    values = {name: getattr(details, name) for name in WebhookItem.model_fields}
    return WebhookItem(**values | {"kinds": list(details.kinds)})


@router.operation("GET", "", READ, response_model=ListPage[WebhookItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List webhooks, with what waits for each."""
    found = sorted(await webhooks.list_all(context, account), key=lambda each: each.id)
    return await listed_from(paging, WebhookItem, _CURSOR, [(each.id, _item(each)) for each in found])


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewWebhook) -> MadeWebhook:
    """Make a webhook for events from now on. Its secret is shown once."""
    made, secret = await webhooks.add(
        context, own_account(context, body.account), body.url, body.kinds, paused=body.paused
    )
    return MadeWebhook(webhook=_item(made), secret=secret)


@router.operation("GET", "/{number}", READ)
async def show(context: Context, number: WebhookNumber) -> WebhookItem:
    """Return how far a webhook has come, and its last error."""
    return _item(await webhooks.find(context, number))


@router.operation("POST", "/{number}/pause", WRITE, status_code=204)
async def pause(context: Context, number: WebhookNumber) -> None:
    """Send nothing until it is resumed. Events are kept for it."""
    await webhooks.pause(context, number)


@router.operation("POST", "/{number}/resume", WRITE, status_code=204)
async def resume(context: Context, number: WebhookNumber) -> None:
    """Go on where it stopped, at once."""
    await webhooks.resume(context, number)


@router.operation("POST", "/{number}/rotate", WRITE)
async def rotate(context: Context, number: WebhookNumber) -> WebhookSecret:
    """Make a new secret, shown once. For a day requests are signed with both."""
    return WebhookSecret(secret=await webhooks.rotate(context, number))


@router.operation("POST", "/{number}/replay", WRITE)
async def replay(context: Context, number: WebhookNumber, body: ReplayBody) -> WebhookItem:
    """Send everything behind an event again, with the same ids."""
    return _item(await webhooks.replay(context, number, body.after))


@router.operation("POST", "/{number}/test", WRITE)
async def send_test(context: Context, number: WebhookNumber) -> WebhookTestResult:
    """Send one signed event of kind `test` now."""
    problem = await webhooks.send_test(context, number)
    return WebhookTestResult(accepted=problem is None, problem=problem)


@router.operation("POST", "/{number}/remove", WRITE, status_code=204)
async def remove(context: Context, number: WebhookNumber, body: Because) -> None:
    """Remove a webhook. Events that it has not accepted are lost to it."""
    await webhooks.remove(context, number, reason=body.reason)
