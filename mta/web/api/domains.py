"""``/v1/domains``: sender domains with the records to publish and the state of each check."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Path, Response
from pydantic import Field

from mta.admin.errors import InvalidValue, NotFound
from mta.admin.senders import accounts, domains
from mta.mail.address import AddressError, parse_domain
from mta.store.accounts.account_cache import DomainDetails
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, Because, DomainField, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, listed_from
from mta.web.api.routing import ApiRouter, Context
from policy.accounts.sender_domain import CheckResult

router = ApiRouter("domains")

READ, WRITE = "domains:read", "domains:write"
_BY_NAME: Cursor[str] = Cursor(Line)


async def domain_in_path(domain: Annotated[str, Path(max_length=400, description="Domain name.")]) -> str:
    """Raises InvalidValue."""
    try:
        return parse_domain(domain)
    except AddressError as error:
        raise InvalidValue("domain", f"domain: {error}") from None


DomainInPath = Annotated[str, Depends(domain_in_path)]


class TxtRecord(Model):
    """A record to publish in the DNS."""

    name: str
    type: str
    text: str


class DomainItem(Model):
    """``proof``: the record that proves the domain. ``checks``: what the last look found, by axis."""

    domain: str
    account: str
    verified_at: datetime | None
    checked_at: datetime | None
    receives: bool
    proof: TxtRecord
    checks: dict[str, str]


class NewDomain(Model):
    domain: DomainField
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    skip_verification: bool = Field(False, description="Accept it without checks, on an operator's authority.")
    reason: Line = Field("", max_length=500)


class Verification(Model):
    skip_verification: bool = False
    reason: Line = Field("", max_length=500)


class DomainCheckItem(Model):
    """One axis: proof, SPF, DKIM, DMARC, MX. ``mark``: good, weak, bad or unknown."""

    axis: str
    mark: str
    text: str


class CheckedDomain(Model):
    domain: DomainItem
    found: list[DomainCheckItem]


def _item(account: str, each: DomainDetails) -> DomainItem:
    name, text = domains.proof_record(each)
    return DomainItem(
        domain=each.domain,
        account=account,
        verified_at=each.verified_at,
        checked_at=each.checked_at,
        receives=each.receives,
        proof=TxtRecord(name=name, type="TXT", text=text),
        checks=dict(each.report),
    )


def _found(results: Sequence[CheckResult]) -> list[DomainCheckItem]:
    return [DomainCheckItem(axis=each.subject.value, mark=each.mark.value, text=each.text) for each in results]


async def _owner(context: Context, domain: str) -> str:
    """Return the account that has a domain. Raises NotFound."""
    for each in await accounts.list_all(context):
        if any(known.domain == domain for known in each.domains):
            return each.account.name
    raise NotFound(f"there is no domain {domain}")


@router.operation("GET", "", READ, response_model=ListPage[DomainItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List sender domains by name."""
    if account:
        await context.account(account)
    found = [
        (each.domain, _item(owner.account.name, each))
        for owner in await accounts.list_all(context)
        if account in (None, owner.account.name)
        for each in owner.domains
    ]
    return await listed_from(paging, DomainItem, _BY_NAME, sorted(found, key=lambda pair: pair[0]))


@router.operation("POST", "", WRITE, status_code=201)
async def add(context: Context, body: NewDomain) -> DomainItem:
    """Add a domain to an account; `proof` is the record that proves it."""
    account = own_account(context, body.account)
    vouch = domains.require_reason(body.skip_verification, body.reason)
    return _item(account, await domains.add(context, account, body.domain, vouch=vouch))


@router.operation("GET", "/{domain}", READ)
async def show(context: Context, domain: DomainInPath) -> DomainItem:
    """Return a domain with the record that proves it and what the last look found."""
    account = await _owner(context, domain)
    return _item(account, await domains.find(context, account, domain))


@router.operation("POST", "/{domain}/verify", WRITE)
async def verify(context: Context, domain: DomainInPath, body: Verification) -> CheckedDomain:
    """Check a domain's proof, SPF, DKIM, DMARC and MX in the DNS now."""
    account = await _owner(context, domain)
    vouch = domains.require_reason(body.skip_verification, body.reason)
    details, found = await domains.verify(context, account, domain, vouch=vouch)
    return CheckedDomain(domain=_item(account, details), found=_found(found))


@router.operation("POST", "/{domain}/remove", WRITE, status_code=204)
async def remove(context: Context, domain: DomainInPath, body: Because) -> None:
    """Remove a domain from its account. Queued mail is still delivered."""
    await domains.remove(context, await _owner(context, domain), domain, reason=body.reason)
