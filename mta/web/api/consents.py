"""``/v1/consents``: who agreed to what, with the evidence; files of them are imported by a job (``/v1/jobs``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.encoders import jsonable_encoder
from pydantic import AwareDatetime, Field

from mta.admin import consents
from mta.admin.files.import_jobs import ImportJobs
from mta.admin.json_values import plain
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, AddressField, AddressInPath, Line, Model, Paragraph
from mta.web.api.jobs import JobItem, job_item
from mta.web.api.routing import ApiRouter, Context
from mta.web.api.uploads import FILE, uploaded_file
from policy.permission.consent import EVERY_TOPIC, Sign

router = ApiRouter("consents")

READ, WRITE = "consents:read", "consents:write"


class NewConsent(Model):
    """``fields``: what is known, by the names of docs/consents.md: topics, basis, given_at, ip, statement, ..."""

    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    address: AddressField
    fields: dict[Line, Paragraph] = Field(max_length=50)
    lift: bool = Field(False, description="Suppressions that a newer consent answers end; operators.")


class ConsentResult(Model):
    """``is_new``: false if it was recorded before. ``lacking``: evidence that is missing; it cannot be used yet."""

    is_new: bool
    lacking: dict[str, int]
    lifted: int
    cancelled: int


class RevokeBody(Model):
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    topic: Line = Field(EVERY_TOPIC, min_length=1, max_length=100)
    reason: Line = Field(min_length=1, max_length=200)
    dry_run: bool = False


class RevokedConsent(Model):
    """``entry``: its number in the ledger; null: it was a dry run. ``cancelled``: queued copies; with ``dry_run`` how
    many it may be."""

    entry: int | None
    cancelled: int


class ContactBody(Model):
    account: Line | None = Field(None, max_length=64, description="Null: the token's own.")
    sign: Sign
    at: AwareDatetime | None = None


class LedgerEntryNumber(Model):
    entry: int


class LedgerItem(Model):
    """What one account's ledger has of an address: the proofs, and the consents that follow from them."""

    account: str
    proofs: list[dict[str, Any]]
    consents: list[dict[str, Any]]


@router.operation("GET", "/{address:path}", READ)
async def show(context: Context, address: AddressInPath, account: AccountFilter = None) -> list[LedgerItem]:
    """Return what the ledgers have of an address: consents, revocations and their evidence."""
    names: Mapping[int, str] = await context.account_names()
    found = await consents.of(context, address, account)
    return [
        LedgerItem(
            account=names.get(each.account_id, str(each.account_id)),
            proofs=jsonable_encoder([plain(proof) for proof in each.proofs]),
            consents=jsonable_encoder([plain(consent) for consent in each.consents]),
        )
        for each in found
    ]


@router.operation("POST", "", WRITE, status_code=201)
async def record(context: Context, body: NewConsent) -> ConsentResult:
    """Record one consent."""
    fields = {**body.fields, "address": str(body.address)}
    _, done = await consents.record(context, own_account(context, body.account), fields, lift=body.lift)
    return ConsentResult(is_new=bool(done.fresh), lacking=dict(done.lacking), lifted=done.lifted, cancelled=done.pulled)


@router.operation("POST", "/import", WRITE, status_code=202, openapi_extra=FILE)
async def import_(
    request: Request,
    context: Context,
    account: AccountFilter = None,
    lift: Annotated[bool, Query(description="Suppressions that a newer consent answers end; operators.")] = False,
) -> JobItem:
    """Import consents: JSON lines or CSV with a header line, streamed. The job tells how far it is, and each bad line.

    A file that was interrupted may be sent again: it resumes where it stopped.
    """
    imports: ImportJobs = request.app.state.imports
    owner = own_account(context, account)
    return job_item(await imports.begin_consents(context, owner, uploaded_file(request), lift=lift))


@router.operation("POST", "/{address:path}/revoke", WRITE)
async def revoke(context: Context, address: AddressInPath, body: RevokeBody) -> RevokedConsent:
    """Revoke consent for a topic, or for all, and cancel the queued copies concerned."""
    account = own_account(context, body.account)
    if body.dry_run:
        return RevokedConsent(entry=None, cancelled=await consents.concerned(context, account, address, body.topic))
    done = await consents.revoke(context, account, address, topic=body.topic, reason=body.reason)
    return RevokedConsent(entry=done.entry, cancelled=done.pulled)


@router.operation("POST", "/{address:path}/contact", WRITE)
async def contact(context: Context, address: AddressInPath, body: ContactBody) -> LedgerEntryNumber:
    """Record a contact, such as a purchase, that restarts the expiry of consents."""
    at: datetime | None = body.at
    number = await consents.renew(context, own_account(context, body.account), address, body.sign, at)
    return LedgerEntryNumber(entry=number)
