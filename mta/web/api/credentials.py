"""``/v1/credentials``: how accounts log in over SMTP, and what each login may do."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path, Response
from pydantic import Field

from mta.admin.errors import InvalidValue
from mta.admin.senders import accounts, credentials
from mta.store.accounts.account_cache import CredentialDetails
from mta.web.api.accounts import NewLoginItem
from mta.web.api.fields import AccountFilter, Because, DomainField, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context
from policy.accounts.account import Grant, Stream
from policy.accounts.purpose import Purpose, PurposeError
from policy.permission.marketing_signs import MailingSign

router = ApiRouter("credentials")

READ, WRITE = "credentials:read", "credentials:write"
_BY_NAME: Cursor[str] = Cursor(Line)
Username = Annotated[Line, Path(max_length=255, description="User name of the credential.")]


class CredentialScope(Model):
    """What a credential may do; null: no limit beyond the account's. ``purposes``: what its transactional mail is for,
    with a sample: `order: Your order *`; ``signs``: marks of a mailing that it may show."""

    streams: list[Stream] | None = Field(None, min_length=1, max_length=2)
    domains: list[DomainField] | None = Field(None, min_length=1, max_length=1000)
    rate: float | None = Field(None, gt=0, lt=1e6)
    burst: int | None = Field(None, gt=0, lt=2**31)
    purposes: list[Line] = Field([], max_length=50)
    signs: list[MailingSign] = Field([], max_length=50)

    def grant(self) -> Grant:
        """Raises InvalidValue."""
        try:
            purposes = tuple(map(Purpose.parse, self.purposes))
        except PurposeError as error:
            raise InvalidValue("purposes", str(error)) from None
        return Grant(
            None if self.streams is None else frozenset(self.streams),
            None if self.domains is None else frozenset(self.domains),
            self.rate,
            self.burst,
            purposes,
            frozenset(each.value for each in self.signs),
        )


class CredentialItem(CredentialScope):
    username: str
    account: str
    created_at: datetime
    revoked_at: datetime | None


class NewCredential(CredentialScope):
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    username: Line | None = Field(None, min_length=1, max_length=255, description="Default: made from the name.")
    reason: Line = Field("", max_length=500)


class ScopeChange(CredentialScope):
    reason: Line = Field("", max_length=500)


class Rotation(Model):
    overlap: float = Field(86400, ge=0, le=90 * 86400, description="Seconds for which the old one still works.")
    username: Line | None = Field(None, min_length=1, max_length=255)


class RotatedLogin(NewLoginItem):
    old_until: datetime


def _item(account: str, each: CredentialDetails) -> CredentialItem:
    grant = each.grant
    return CredentialItem(
        username=each.username,
        account=account,
        created_at=each.created_at,
        revoked_at=each.revoked_at,
        streams=None if grant.streams is None else sorted(grant.streams, key=lambda stream: stream.value),
        domains=None if grant.domains is None else sorted(grant.domains),
        rate=grant.rate,
        burst=grant.burst,
        purposes=[str(purpose) for purpose in grant.purposes],
        signs=[MailingSign(sign) for sign in sorted(grant.signs)],
    )


def own_account(context: Context, named: str | None) -> str:
    """Return the account that a request is about. Raises InvalidValue."""
    account = named or context.actor.account
    if account is None:
        raise InvalidValue("account", "say for which account")
    return account


@router.operation("GET", "", READ, response_model=ListPage[CredentialItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List credentials by user name, revoked ones included."""
    if account:
        await context.account(account)
    found = [
        (each.username, _item(owner.account.name, each))
        for owner in await accounts.list_all(context)
        if account in (None, owner.account.name)
        for each in owner.credentials
    ]
    return await listed_from(paging, CredentialItem, _BY_NAME, sorted(found, key=lambda pair: pair[0]))


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewCredential) -> NewLoginItem:
    """Make another credential. Its secret is shown once and not stored."""
    account = own_account(context, body.account)
    login = await credentials.add(context, account, body.username, body.grant(), reason=body.reason)
    return NewLoginItem(username=login.username, secret=login.secret)


@router.operation("PUT", "/{username}/scope", WRITE)
async def set_scope(context: Context, username: Username, body: ScopeChange) -> CredentialItem:
    """Replace what a credential may do. What is left out becomes the default."""
    await credentials.set_grant(context, username, body.grant(), reason=body.reason)
    owner, each = await credentials.find(context, username)
    return _item(owner.account.name, each)


@router.operation("POST", "/{username}/rotate", WRITE, status_code=201)
async def rotate(context: Context, username: Username, body: Rotation) -> RotatedLogin:
    """Replace a credential by a new one with the same scope."""
    login, until = await credentials.rotate(
        context, username, overlap=timedelta(seconds=body.overlap), new_name=body.username
    )
    return RotatedLogin(username=login.username, secret=login.secret, old_until=until)


@router.operation("POST", "/{username}/revoke", WRITE, status_code=204)
async def revoke(context: Context, username: Username, body: Because) -> None:
    """Revoke a credential immediately, live sessions included. User names are never reused."""
    await credentials.revoke(context, username, reason=body.reason)
