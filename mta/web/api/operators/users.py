"""``/v1/users``: the people who log in to the pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path, Response
from pydantic import Field

from mta.admin import users
from mta.admin.context import AdminContext
from mta.admin.permissions import Role
from mta.store.accounts.web_users import WebUser
from mta.web.api.fields import AccountFilter, Because, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("users")

READ, WRITE = "users:read", "users:write"
LONGEST = 7 * 86400  # seconds that a link may be used
_CURSOR: Cursor[str] = Cursor(Line)
UserName = Annotated[Line, Path(max_length=64, description="Name of the user.")]
LinkLifetime = Annotated[int, Field(ge=60, le=LONGEST, description="How long the link can be used.")]
LINK_SECONDS = int(users.LINK_LASTS.total_seconds())


class UserItem(Model):
    """``has_password``: can log in by password and code; ``passkeys``: how many."""

    name: str
    role: Role
    account: str | None
    has_password: bool
    passkeys: int
    created_by: str
    created_at: datetime
    disabled_at: datetime | None
    locked_until: datetime | None
    last_login_at: datetime | None
    last_login_from: str | None


class NewUser(Model):
    name: Line = Field(min_length=1, max_length=64)
    role: Role
    account: Line | None = Field(None, max_length=64, description="For the role account: whose user.")
    seconds: LinkLifetime = LINK_SECONDS


class LinkBody(Model):
    seconds: LinkLifetime = LINK_SECONDS


class ResetBody(Because):
    seconds: LinkLifetime = LINK_SECONDS


class LoginLink(Model):
    """``link``: logs the user in once, to set up a passkey or a password; it is shown once."""

    user: UserItem
    link: str
    seconds: int


def _item(user: WebUser) -> UserItem:
    return UserItem.model_validate(user)


@router.operation("GET", "", READ, response_model=ListPage[UserItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List users by name."""
    found = sorted(await users.list_all(context, account=account), key=lambda each: each.name)
    return await listed_from(paging, UserItem, _CURSOR, [(each.name, _item(each)) for each in found])


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewUser) -> LoginLink:
    """Add a user, and make a link that logs in once. The caller can give no more than its own rights."""
    user = await users.add(context, body.name, body.role, account=body.account)
    return await _linked(context, user, body.seconds)


@router.operation("GET", "/{name}", READ)
async def show(context: Context, name: UserName) -> UserItem:
    """Return a user."""
    return _item(await users.get(context, name))


@router.operation("POST", "/{name}/link", WRITE, status_code=201)
async def link(context: Context, name: UserName, body: LinkBody) -> LoginLink:
    """Make a link that logs a user in once."""
    return await _linked(context, await users.get(context, name), body.seconds)


@router.operation("POST", "/{name}/reset", WRITE)
async def reset(context: Context, name: UserName, body: ResetBody) -> LoginLink:
    """Forget password, code and passkeys of a user, end the sessions, and make a link that logs in once."""
    user = await users.reset(context, name, reason=body.reason)
    return await _linked(context, user, body.seconds)


@router.operation("POST", "/{name}/disable", WRITE, status_code=204)
async def disable(context: Context, name: UserName, body: Because) -> None:
    """Let a user in no more, and end the sessions."""
    await users.disable(context, name, reason=body.reason)


@router.operation("POST", "/{name}/enable", WRITE, status_code=204)
async def enable(context: Context, name: UserName) -> None:
    """Let a disabled user in again."""
    await users.enable(context, name)


async def _linked(context: AdminContext, user: WebUser, seconds: int) -> LoginLink:
    token = await users.link(context, user.name, lifetime=timedelta(seconds=seconds))
    address = f"{context.settings.web.admin.base_url}/login/link?token={token}"
    return LoginLink(user=_item(await users.get(context, user.name)), link=address, seconds=seconds)
