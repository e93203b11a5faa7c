"""``/v1/events``: an account's events in order, as its webhooks get them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query

from mta.admin.errors import Refused
from mta.observe.account_events import fields
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, Line, Model
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("events")


class EventPage(Model):
    """``next``: `after` of the next request, also when there is nothing more yet."""

    items: list[dict[str, Any]]
    next: int


@router.operation("GET", "", "events:read")
async def list_(
    context: Context,
    account: AccountFilter = None,
    after: Annotated[int, Query(ge=0, lt=2**63, description="Only events behind this one.")] = 0,
    kind: Annotated[list[Line] | None, Query(max_length=50, description="Only events of these kinds.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> EventPage:
    """Return an account's events in order, from a cursor on. They are kept while the account has a webhook."""
    owner = (await context.account(own_account(context, account))).account
    store = context.store
    if not await store.webhooks.list(owner.id):
        raise Refused(f"{owner.name} has no webhook, so its events are not kept: make one, paused if nothing is sent")
    upto = await store.outbox.watermark()
    events = await store.outbox.read(owner.id, after, upto, kind or (), limit)
    reached = events[-1].id if len(events) == limit else max(after, upto)
    return EventPage(items=[fields(each) for each in events], next=reached)
