"""``/v1/accounts``: accounts, their settings, their life, and what a reviewer goes by."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field

from mta.admin.senders import accounts
from mta.admin.senders.accounts import NewAccount
from mta.mail.address import Address
from mta.store.accounts.account_cache import AccountDetails, ListSource
from mta.store.accounts.account_status import StatusChanged
from mta.store.accounts.reviews import Setting
from mta.web.api.fields import AccountName, AddressField, Because, BecauseOf, DomainField, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context
from policy.accounts.account import AccountStatus, Identity, StatusChange

router = ApiRouter("accounts")

READ, WRITE, TERMS = "accounts:read", "accounts:write", "terms:write"
_BY_NAME: Cursor[str] = Cursor(Line)


class BounceNotifications(Enum):
    """What happens when a message fails: a DSN by mail (RFC 3464), an event only, nothing."""

    DSN = "dsn"
    EVENT = "event"
    NONE = "none"


class TermsItem(Model):
    """Who accepted which version of the terms."""

    version: str
    at: datetime
    by: str


class AccountItem(Model):
    """An account, without secrets."""

    name: str
    status: AccountStatus
    reason: str
    case: str
    profile: str
    contact: str
    bounce_notifications: BounceNotifications
    pool: str
    weight: int
    max_priority: int
    quota_day: int | None
    quota_month: int | None
    adult_agreed: bool
    terms: TermsItem | None
    domains: list[str]
    unverified_domains: list[str]
    networks: list[str]
    usernames: list[str]
    lists: list[str]
    role_exceptions: list[str]
    created_at: datetime


class IdentityItem(Model):
    """Who stands behind an account, in one language."""

    language: Line = Field(min_length=2, max_length=5)
    names: list[Line] = Field(min_length=1, max_length=20)
    street: Line = Field("", max_length=200)
    postcode: Line = Field("", max_length=50)
    city: Line = Field("", max_length=200)
    country: Line = Field("", max_length=100)
    phone: Line = Field("", max_length=100)
    email: Line = Field("", max_length=254)
    register_name: Line = Field("", max_length=200, alias="register", description="Of companies.")
    number: Line = Field("", max_length=100)
    vat: Line = Field("", max_length=100)
    representative: Line = Field("", max_length=200)


class AccountWithPapers(AccountItem):
    identities: list[IdentityItem]


class NewAccountBody(Model):
    name: Line = Field(min_length=1, max_length=64)
    domains: list[DomainField] = Field(min_length=1, max_length=1000)
    networks: list[Line] = Field([], max_length=100)
    profile: Line | None = Field(None, max_length=100, description="Default: policy.default_profile.")
    bounce_notifications: BounceNotifications = BounceNotifications.DSN
    username: Line | None = Field(None, min_length=1, max_length=255, description="Default: made from the name.")
    approve: Line | None = Field(None, min_length=1, max_length=500, description="Why it is approved at once.")
    verified: bool = Field(False, description="Accept its domains without checks, on your authority.")


class NewLoginItem(Model):
    """A credential; the secret is shown once."""

    username: str
    secret: str


class MadeAccount(Model):
    account: AccountItem
    credential: NewLoginItem


class AccountSettings(Model):
    """Settings to change; what is left out stays. Null lifts a quota."""

    profile: Line = Field("", max_length=100)
    contact: Line = Field("", max_length=200)
    bounce_notifications: BounceNotifications = BounceNotifications.DSN
    quota_day: int | None = Field(None, ge=0, lt=2**31)
    quota_month: int | None = Field(None, ge=0, lt=2**31)
    adult_agreed: bool = False
    pool: Line = Field("", max_length=100)
    weight: int = Field(10, ge=1, le=1000)
    max_priority: int = Field(0, ge=-9, le=9)


class StatusResult(Model):
    """``recipients``: queued recipients that were held, released or made to fail; ``still_held``: by other holds."""

    status: AccountStatus
    recipients: int
    still_held: int


class Suspension(BecauseOf):
    case: Line = Field("", max_length=20, description="The complaint case behind it: C-17.")


class TerminationBody(BecauseOf):
    dry_run: bool = False


class ReviewRequest(Model):
    force: bool = Field(False, description="Submit even if something is missing; for operators.")


class TermsAcceptance(Model):
    version: Line = Field(min_length=1, max_length=50)
    person: Line = Field(min_length=1, max_length=200, description="Who accepts them for the account.")


class LackItem(Model):
    """What is missing, and how to fix it."""

    text: str
    remedy: str


class ChangeItem(Model):
    at: datetime
    by: str
    kind: str
    data: dict[str, Any]


class NetworkBody(Because):
    network: Line = Field(min_length=1, max_length=50)


class RolesBody(Because):
    addresses: list[AddressField] = Field(max_length=1000)


class ListItem(Model):
    """A list that the account mails, and where it comes from."""

    name: str
    origin: str
    created_at: datetime
    approved_at: datetime | None
    approved_by: str | None


class NewListBody(Model):
    name: Line = Field(min_length=1, max_length=100)
    origin: Line = Field(min_length=1, max_length=500, description="Where its addresses come from.")


def _values(details: AccountDetails) -> dict[str, Any]:
    account = details.account
    return {
        **{name: getattr(account, name) for name in ("name", "status", "reason", "case", "profile", "contact", "pool")},
        "weight": account.weight,
        "max_priority": account.max_priority,
        "bounce_notifications": account.bounce_notifications,
        "quota_day": account.quotas.day,
        "quota_month": account.quotas.month,
        "adult_agreed": account.adult_agreed,
        "terms": account.terms,
        "domains": sorted(account.domains),
        "unverified_domains": sorted(account.unverified),
        "networks": [str(network) for network in details.networks],
        "usernames": [each.username for each in details.credentials if each.revoked_at is None],
        "lists": sorted(account.lists),
        "role_exceptions": sorted(map(str, account.role_exceptions)),
        "created_at": details.created_at,
    }


def _item(details: AccountDetails) -> AccountItem:
    return AccountItem.model_validate(_values(details))


def _with_papers(details: AccountDetails) -> AccountWithPapers:
    identities = [IdentityItem.model_validate(each) for each in details.account.identities]
    return AccountWithPapers.model_validate(_values(details) | {"identities": identities})


@router.operation("GET", "", READ, response_model=ListPage[AccountItem])
async def list_(context: Context, paging: PagingParameters, status: AccountStatus | None = None) -> Response:
    """List accounts by name."""
    found = [each for each in await accounts.list_all(context) if status in (None, each.account.status)]
    items = sorted(((each.account.name, _item(each)) for each in found), key=lambda pair: pair[0])
    return await listed_from(paging, AccountItem, _BY_NAME, items)


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewAccountBody) -> MadeAccount:
    """Make an account with its first credential. It sends nothing until it is approved."""
    values = body.model_dump() | {"bounce_notifications": body.bounce_notifications.value}
    details, login = await accounts.add(context, NewAccount(**values))
    return MadeAccount(account=_item(details), credential=NewLoginItem(username=login.username, secret=login.secret))


@router.operation("GET", "/{account}", READ)
async def show(context: Context, account: AccountName) -> AccountWithPapers:
    """Return everything about one account except secrets."""
    return _with_papers(await context.account(account))


@router.operation("PATCH", "/{account}", WRITE)
async def change(context: Context, account: AccountName, body: AccountSettings) -> AccountItem:
    """Change settings; those that are not given stay."""
    given: Mapping[str, Any] = body.model_dump(mode="json", exclude_unset=True)
    return _item(await accounts.change_settings(context, account, {Setting(name): given[name] for name in given}))


@router.operation("GET", "/{account}/history", READ)
async def history(
    context: Context, account: AccountName, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[ChangeItem]:
    """Return who changed what of an account, the newest first."""
    return [
        ChangeItem(at=each.at, by=each.by, kind=each.kind.value, data=dict(each.data))
        for each in await accounts.history(context, account, limit)
    ]


@router.operation("GET", "/{account}/missing", READ)
async def missing(context: Context, account: AccountName) -> list[LackItem]:
    """Return what an account lacks for a review, as far as is known without asking the DNS."""
    return [LackItem(text=each.text, remedy=each.remedy) for each in await accounts.missing(context, account)]


# --- its life


def _result(done: StatusChanged) -> StatusResult:
    return StatusResult(status=done.status, recipients=done.recipients, still_held=done.still_held)


@router.operation("POST", "/{account}/review", TERMS)
async def review(context: Context, account: AccountName, body: ReviewRequest) -> StatusResult:
    """Submit an account for review, once everything that a reviewer needs is there."""
    if body.force:
        context.require_operator()
    return _result(await accounts.submit_for_review(context, account, force=body.force))


@router.operation("POST", "/{account}/request-changes", WRITE)
async def request_changes(context: Context, account: AccountName, body: BecauseOf) -> StatusResult:
    """Return an account to its owner, who must change something first."""
    return _result(await accounts.change_status(context, account, StatusChange.REQUEST_CHANGES, reason=body.reason))


@router.operation("POST", "/{account}/approve", WRITE)
async def approve(context: Context, account: AccountName, body: Because) -> StatusResult:
    """Let a reviewed account send."""
    return _result(await accounts.change_status(context, account, StatusChange.APPROVE, reason=body.reason))


@router.operation("POST", "/{account}/suspend", WRITE)
async def suspend(context: Context, account: AccountName, body: Suspension) -> StatusResult:
    """Stop an account from sending, and hold its queue until it is resumed."""
    done = await accounts.change_status(context, account, StatusChange.SUSPEND, reason=body.reason, case=body.case)
    return _result(done)


@router.operation("POST", "/{account}/resume", WRITE)
async def resume(context: Context, account: AccountName, body: Because) -> StatusResult:
    """Let a suspended account send again, and release what the suspension held."""
    return _result(await accounts.change_status(context, account, StatusChange.RESUME, reason=body.reason))


@router.operation("POST", "/{account}/terminate", WRITE)
async def terminate(context: Context, account: AccountName, body: TerminationBody) -> StatusResult:
    """End a suspended account for good: its queue is bounced, its credentials end; suppressions and evidence stay."""
    done = await accounts.change_status(
        context, account, StatusChange.TERMINATE, reason=body.reason, dry_run=body.dry_run
    )
    return _result(done)


# --- what a reviewer goes by


@router.operation("POST", "/{account}/terms", TERMS, status_code=204)
async def accept_terms(context: Context, account: AccountName, body: TermsAcceptance) -> None:
    """Record that a person accepts the terms in force for the account."""
    await accounts.accept_terms(context, account, body.version, person=body.person)


Language = Annotated[Literal["nl", "de", "fr", "es", "en"], Path(description="Language of the identity.")]


@router.operation("PUT", "/{account}/identities/{language}", TERMS, status_code=204)
async def set_identity(context: Context, account: AccountName, language: Language, body: IdentityItem) -> None:
    """Register who stands behind the account, in one language."""
    values = body.model_dump(by_alias=True) | {"language": language, "names": tuple(body.names)}
    await accounts.set_identity(context, account, Identity(**values))


@router.operation("POST", "/{account}/identities/{language}/remove", TERMS, status_code=204)
async def remove_identity(context: Context, account: AccountName, language: Language, body: Because) -> None:
    """Remove the identity in one language."""
    await accounts.remove_identity(context, account, language, reason=body.reason)


@router.operation("PUT", "/{account}/role-exceptions", WRITE)
async def set_role_exceptions(context: Context, account: AccountName, body: RolesBody) -> AccountItem:
    """Set the role addresses that may get its transactional mail all the same."""
    addresses: list[Address] = list(body.addresses)
    return _item(await accounts.set_role_exceptions(context, account, addresses, reason=body.reason))


# --- its lists and networks


def _list(source: ListSource) -> ListItem:
    return ListItem.model_validate(source)


@router.operation("GET", "/{account}/lists", "lists:read", response_model=ListPage[ListItem])
async def lists(context: Context, account: AccountName, paging: PagingParameters) -> Response:
    """List the lists that an account mails, with where they come from."""
    sources = (await context.account(account)).sources
    items = sorted(((each.name, _list(each)) for each in sources), key=lambda pair: pair[0])
    return await listed_from(paging, ListItem, _BY_NAME, items)


@router.operation("POST", "/{account}/lists", "lists:write", status_code=204)
async def add_list(context: Context, account: AccountName, body: NewListBody) -> None:
    """Record where a list comes from. Changing it requires a new approval."""
    await accounts.add_list(context, account, body.name, body.origin)


@router.operation("POST", "/{account}/lists/{name}/approve", WRITE)
async def approve_list(
    context: Context, account: AccountName, name: Annotated[Line, Path(max_length=100)], body: Because
) -> ListItem:
    """Approve the origin of a list."""
    await accounts.approve_list(context, account, name)
    sources = (await context.account(account)).sources
    return next(_list(each) for each in sources if each.name == name)


@router.operation("POST", "/{account}/networks", WRITE, status_code=204)
async def add_network(context: Context, account: AccountName, body: NetworkBody) -> None:
    """Let clients in a network submit for an account without logging in."""
    await accounts.add_network(context, account, body.network)


@router.operation("POST", "/{account}/networks/remove", WRITE, status_code=204)
async def remove_network(context: Context, account: AccountName, body: NetworkBody) -> None:
    """Require clients in this network to log in again."""
    await accounts.remove_network(context, account, body.network, reason=body.reason)
