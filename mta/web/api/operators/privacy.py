"""``/v1/privacy``: all that is kept about a person, and its erasure (GDPR 15 and 17)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi.encoders import jsonable_encoder
from pydantic import Field

from mta.admin.desk import privacy
from mta.admin.json_values import plain
from mta.web.api.fields import AddressField, AddressInPath, BecauseOf, Line, Model
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("privacy")

READ, WRITE = "privacy:read", "privacy:write"
Rows = list[dict[str, Any]]


class SubjectData(Model):
    """All that is kept about an address, by kind. ``contact_of``: accounts whose contact it is; ``references``:
    messages confirmed for mailings; ``contacts``: when accounts mailed it."""

    address: AddressField
    consents: Rows
    suppressions: Rows
    contact_of: list[str]
    contacts: Rows
    queued: Rows
    messages: Rows
    refusals: Rows
    events: Rows
    cases: Rows
    references: Rows
    sign_ups: Rows


class Erasure(BecauseOf):
    """``reason``: who asked, and how."""

    account: Line | None = Field(None, max_length=64, description="Only for this account; null: for all.")
    purge_evidence: bool = Field(False, description="The evidence of consents, too, which is kept for claims else.")
    dry_run: bool = False


class KeptEvidenceItem(Model):
    """Entries of an account's ledger, and until when they are kept as proof against claims, GDPR 17(3)(e)."""

    account: str
    entries: list[int]
    until: datetime


class ErasureResult(Model):
    """``found``: with ``dry_run``, how much is kept, by kind. ``cancelled``: queued copies; ``emptied``: entries of
    ledgers; ``redacted``: records that lost the address."""

    found: dict[str, int]
    cancelled: int
    emptied: int
    redacted: dict[str, int]
    kept: list[KeptEvidenceItem]


@router.operation("GET", "/{address:path}", READ)
async def export(context: Context, address: AddressInPath) -> SubjectData:
    """Return all that is kept about an address. Whole tables are read: it takes as long as that does."""
    return SubjectData.model_validate(jsonable_encoder(plain(await privacy.export(context, address))))


@router.operation("POST", "/{address:path}/erase", WRITE)
async def erase(context: Context, address: AddressInPath, body: Erasure) -> ErasureResult:
    """Erase an address: consents are revoked, queued copies cancelled, records lose it, and its keyed hash keeps
    blocking marketing mail. This cannot be undone."""
    if body.dry_run:
        await context.account_filter(body.account)
        found = await privacy.count(context, address)
        return ErasureResult(found=found, cancelled=0, emptied=0, redacted={}, kept=[])
    done = await privacy.erase(
        context, address, reason=body.reason, account=body.account, purge_evidence=body.purge_evidence
    )
    return ErasureResult(
        found={},
        cancelled=done.erased.pulled,
        emptied=done.erased.emptied,
        redacted=plain(done.erased.redacted),
        kept=[
            KeptEvidenceItem(account=each.account, entries=list(each.entries), until=each.until) for each in done.kept
        ],
    )
