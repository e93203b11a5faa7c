"""``/v1/blocklists``: what blocklists say about our addresses and sender domains."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Response
from pydantic import AwareDatetime

from mta.admin.desk import blocklists
from mta.web.api.fields import Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("blocklists")

READ = "blocklists:read"
MOST_LISTINGS, MOST_QUESTIONS = 10_000, 50
_Key = tuple[AwareDatetime, Line, Line]
_CURSOR: Cursor[_Key] = Cursor(_Key)


class ListingItem(Model):
    """``confirmed_at`` null: seen once; ``case``: the case of a confirmed one; ``ended_at`` null: it holds."""

    list: str
    subject: str
    seen_at: datetime
    confirmed_at: datetime | None
    ended_at: datetime | None
    answer: str
    case: str | None


class BlocklistCheckItem(Model):
    """``subject`` empty: of the list itself, which must pass its own test entries. ``said``: believed, ignored, clear,
    listed or no answer."""

    list: str
    subject: str
    said: str
    words: str


@router.operation("GET", "/listings", READ, response_model=ListPage[ListingItem])
async def listings(
    context: Context, paging: PagingParameters, all: Annotated[bool, Query(description="Ended ones too.")] = False
) -> Response:
    """List what the running service has found, the newest first."""
    found = [
        ListingItem(
            list=each.list,
            subject=each.subject,
            seen_at=each.seen_at,
            confirmed_at=each.confirmed_at,
            ended_at=each.ended_at,
            answer=each.answer,
            case=None if each.case_id is None else f"C-{each.case_id}",
        )
        for each in await blocklists.listings(context, ended=all, limit=MOST_LISTINGS)
    ]
    items = [((each.seen_at, each.list, each.subject), each) for each in found]
    items.sort(key=lambda pair: pair[0], reverse=True)
    return await listed_from(paging, ListingItem, _CURSOR, items, newest_first=True)


@router.operation("GET", "/check", READ)
async def check(
    context: Context,
    subject: Annotated[
        list[Line] | None, Query(max_length=20, description="Addresses or domains. Default: all that is watched.")
    ] = None,
) -> list[BlocklistCheckItem]:
    """Ask all configured lists now, with a pause between two questions; 50 questions at most."""
    found = await blocklists.check(context, subject or (), most=MOST_QUESTIONS)
    return [BlocklistCheckItem.model_validate(each) for each in found]
