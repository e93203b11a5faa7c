"""``/v1/tokens``: tokens of this API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Path, Response
from pydantic import AwareDatetime, Field

from mta.admin import tokens
from mta.admin.permissions import Role
from mta.store.accounts.api_tokens import ApiToken
from mta.web.api.fields import Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("tokens")

_CURSOR: Cursor[int] = Cursor(RowId)
TokenName = Annotated[Line, Path(max_length=64, description="Name of the token.")]


class TokenItem(Model):
    """``scopes`` null: all that the role may do. ``last_used_at``: to the minute."""

    name: str
    role: Role
    account: str | None
    scopes: list[str] | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None


class NewToken(Model):
    name: Line = Field(min_length=1, max_length=64)
    role: Role
    account: Line | None = Field(None, max_length=64, description="For the role account: whose.")
    scopes: list[Line] | None = Field(None, max_length=50, description="Null: all that the role may do.")
    expires_at: AwareDatetime | None = None


class MadeToken(TokenItem):
    token: str = Field(description="The token. It is shown once.")


class Revoke(Model):
    reason: Line = Field("", max_length=200)


def _item(token: ApiToken) -> TokenItem:
    return TokenItem.model_validate(token)


@router.operation("GET", "", "tokens:read", response_model=ListPage[TokenItem])
async def list_(context: Context, paging: PagingParameters) -> Response:
    """List tokens in the order in which they were made, revoked ones too."""

    async def fetch(after: int | None, limit: int) -> Sequence[tuple[int, TokenItem]]:
        return [(each.id, _item(each)) for each in await tokens.list_page(context, after=after or 0, limit=limit)]

    return await listed(paging, TokenItem, _CURSOR, fetch)


@router.operation("POST", "", "tokens:write", status_code=201)
async def add(context: Context, body: NewToken) -> MadeToken:
    """Make a token. It cannot be given more than the caller may do."""
    token, text = await tokens.add(
        context, body.name, body.role, account=body.account, scopes=body.scopes, expires_at=body.expires_at
    )
    return MadeToken(**dict(_item(token)), token=text)


@router.operation("GET", "/{name}", "tokens:read")
async def show(context: Context, name: TokenName) -> TokenItem:
    """Return a token, without its text."""
    return _item(await tokens.get(context, name))


@router.operation("POST", "/{name}/revoke", "tokens:write", status_code=204)
async def revoke(context: Context, name: TokenName, body: Revoke) -> None:
    """End a token now."""
    await tokens.revoke(context, name, reason=body.reason)
