"""Lists: pages by cursor, and CSV.

A cursor is the place of the last item of a page, so a page costs the same wherever it is, and items that come and go
between two requests neither shift nor repeat the others.

Invariants: a cell that a spreadsheet would take for a formula begins with an apostrophe.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Depends, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mta.admin.errors import InvalidValue
from mta.admin.spreadsheet import no_formula
from mta.web.api.fields import Model

Item = TypeVar("Item", bound=Model)
Key = TypeVar("Key")

RowId = Annotated[int, Field(ge=0, lt=2**63)]

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
CSV_PAGE = 1000


class ListPage(Model, Generic[Item]):
    """One page. ``next``: the cursor of the next page; null: this is the last one."""

    items: list[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class Paging:
    """What a request says about pages."""

    request: Request
    limit: int | None
    cursor: str | None
    wants_csv: bool


async def _paging(
    request: Request,
    limit: Annotated[int | None, Query(ge=1, le=MAX_LIMIT, description="Items on a page; default: 100.")] = None,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")] = None,
    format: Annotated[
        Literal["json", "csv"] | None, Query(description="Default: by the field Accept; CSV is the whole list.")
    ] = None,
) -> Paging:
    accept = request.headers.get("accept", "")
    wants_csv = format == "csv" or (format is None and "text/csv" in accept and "json" not in accept)
    return Paging(request, limit, cursor, wants_csv)


PagingParameters = Annotated[Paging, Depends(_paging)]


class Cursor(Generic[Key]):
    """Reads and writes the cursors of one list. ``kind``: the type of a key."""

    def __init__(self, kind: Any) -> None:
        config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")
        self._adapter: TypeAdapter[Key] = TypeAdapter(kind, config=config)

    def encode(self, key: Key) -> str:
        return base64.urlsafe_b64encode(self._adapter.dump_json(key)).decode().rstrip("=")

    def decode(self, text: str) -> Key:
        """Raises InvalidValue."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            return self._adapter.validate_json(raw)
        except (ValidationError, binascii.Error, ValueError):
            raise InvalidValue("cursor", "not a cursor of this list: take it from `next` of a page") from None


async def listed(
    paging: Paging,
    model: type[Item],
    cursor: Cursor[Key],
    fetch: Callable[[Key | None, int], Awaitable[Sequence[tuple[Key, Item]]]],
) -> Response:
    """Return a page, or the whole list as CSV. ``fetch(after, limit)``: the next items with their keys.

    Raises InvalidValue, and what ``fetch`` raises.
    """
    after = cursor.decode(paging.cursor) if paging.cursor else None
    if paging.wants_csv:
        first = await fetch(after, min(paging.limit or CSV_PAGE, CSV_PAGE))
        headers = {"Content-Disposition": 'attachment; filename="list.csv"', "Vary": "Accept"}
        rows = _csv(model, fetch, first, whole=paging.limit is None)
        return StreamingResponse(rows, media_type="text/csv; charset=utf-8; header=present", headers=headers)
    limit = paging.limit or DEFAULT_LIMIT
    found = await fetch(after, limit + 1)
    more = len(found) > limit
    following = cursor.encode(found[limit - 1][0]) if more else None
    body = {"items": [item.model_dump(mode="json") for _, item in found[:limit]], "next": following}
    headers = {"Vary": "Accept"}
    if following:
        url = paging.request.url.include_query_params(cursor=following)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return JSONResponse(body, headers=headers)


async def _csv(
    model: type[Item],
    fetch: Callable[[Key | None, int], Awaitable[Sequence[tuple[Key, Item]]]],
    found: Sequence[tuple[Key, Item]],
    *,
    whole: bool,
) -> AsyncIterator[str]:
    """Yield a header line and the rows, page by page."""
    names = list(model.model_fields)
    yield _line(names)
    while found:
        yield "".join(_line([_cell(getattr(item, name)) for name in names]) for _, item in found)
        if not whole or len(found) < CSV_PAGE:
            return
        found = await fetch(found[-1][0], CSV_PAGE)


def _line(cells: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(cells)
    return file.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case Enum():
            text = str(value.value)
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            text = " ".join(_cell(each) for each in value)
        case Model():
            text = value.model_dump_json(exclude_none=True)
        case _:
            text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text if isinstance(value, int | float) else no_formula(text)


async def listed_from(
    paging: Paging,
    model: type[Item],
    cursor: Cursor[Key],
    items: Sequence[tuple[Key, Item]],
    *,
    newest_first: bool = False,
) -> Response:
    """Return a page of a list that is small enough to be at hand. ``items``: in the order of their keys.

    Raises InvalidValue.
    """

    async def fetch(after: Key | None, limit: int) -> Sequence[tuple[Key, Item]]:
        rest = [each for each in items if after is None or (each[0] < after if newest_first else each[0] > after)]  # type: ignore[operator]
        return rest[:limit]

    return await listed(paging, model, cursor, fetch)
