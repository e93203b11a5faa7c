"""``/v1/takedowns``: hosts and addresses that no message may link to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Response
from pydantic import AwareDatetime, Field

from mta.admin.desk import takedowns
from mta.web.api.fields import BecauseOf, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context
from policy.reputation.takedown import Takedown

router = ApiRouter("takedowns")

READ, WRITE = "takedowns:read", "takedowns:write"
_Key = tuple[AwareDatetime, Line]
_CURSOR: Cursor[_Key] = Cursor(_Key)
Link = Annotated[Line, Field(min_length=1, max_length=2000)]


class TakedownItem(Model):
    """``link``: a host or an address, with all below it. ``removed_at`` null: it is in force."""

    link: str
    reason: str
    added_by: str
    added_at: datetime
    removed_by: str | None
    removed_at: datetime | None


class NewTakedowns(BecauseOf):
    links: list[Link] = Field(min_length=1, max_length=1000, description="Hosts or addresses, with all below them.")


class AddedTakedowns(Model):
    """``added``: how many were not taken down before."""

    added: int


class RemovedTakedown(BecauseOf):
    link: Link


def _item(takedown: Takedown) -> TakedownItem:
    values = {name: getattr(takedown, name) for name in TakedownItem.model_fields if name != "link"}
    return TakedownItem(link=str(takedown.target), **values)


@router.operation("GET", "", READ, response_model=ListPage[TakedownItem])
async def list_(
    context: Context, paging: PagingParameters, all: Annotated[bool, Query(description="Removed ones too.")] = False
) -> Response:
    """List what was taken down, the newest first."""
    found = [_item(each) for each in await takedowns.list_all(context, removed=all, limit=takedowns.MOST)]
    items = sorted((((each.added_at, each.link), each) for each in found), key=lambda pair: pair[0], reverse=True)
    return await listed_from(paging, TakedownItem, _CURSOR, items, newest_first=True)


@router.operation("POST", "", WRITE)
async def add(context: Context, body: NewTakedowns) -> AddedTakedowns:
    """Refuse messages that link there. It is in force within a second."""
    links = [takedowns.parse(each) for each in body.links]
    return AddedTakedowns(added=await takedowns.add(context, links, reason=body.reason))


@router.operation("POST", "/remove", WRITE, status_code=204)
async def remove(context: Context, body: RemovedTakedown) -> None:
    """Allow links there again. The takedown stays on record."""
    await takedowns.remove(context, takedowns.parse(body.link), reason=body.reason)
