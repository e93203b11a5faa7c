"""``/v1/consents``: whole ledgers (export, proof that nothing was changed), and what was found in imported lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from mta.admin import consents
from mta.admin.desk import list_findings
from mta.store.permission.address_lists import RecordedFinding
from mta.store.permission.ledger import Verified
from mta.web.api.credentials import own_account
from mta.web.api.fields import AccountFilter, BecauseOf, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed_from
from mta.web.api.routing import ApiRouter, Context
from mta.web.api.uploads import CSV, JSON_LINES
from policy.permission.address_list import ListSign

router = ApiRouter("consents")

READ, WRITE = "consents:read", "consents:write"
MOST_FINDINGS = 10_000
_CURSOR: Cursor[int] = Cursor(RowId)
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One consent on each line, as an import reads it.",
        "content": {kind: {"schema": {"type": "string"}} for kind in (JSON_LINES, CSV)},
    }
}
FindingNumber = Annotated[int, Path(ge=1, lt=2**63, description="Number of the finding.")]


class LedgerFaultItem(Model):
    entry: int
    text: str


class VerifiedLedger(Model):
    """``entries``: how many; ``head``: of the last one, to keep elsewhere; ``faults``: empty if the chain is intact."""

    account: str
    entries: int
    head: str
    faults: list[LedgerFaultItem]


class ListFindingItem(Model):
    """``hold``: mailings of the account wait until it is dismissed. ``file``: SHA-256 of the list; empty: records that
    came one by one. ``other``: the account that has such a list, too; for operators."""

    id: int
    account: str
    file: str
    sign: ListSign
    hold: bool
    text: str
    other: str | None
    found_at: datetime
    dismissed_at: datetime | None
    dismissed_by: str | None
    reason: str | None


@router.operation("GET", "/export", READ, response_class=Response, responses=_EXPORT)
async def export(
    request: Request,
    context: Context,
    account: AccountFilter = None,
    format: Annotated[
        Literal["ndjson", "csv"] | None, Query(description="Default: by the field Accept; JSON lines.")
    ] = None,
) -> Response:
    """Return the consents of an account's ledger as they hold now, with their evidence, streamed."""
    owner = (await context.account(own_account(context, account))).account
    accept = request.headers.get("accept", "")
    wants_csv = format == "csv" or (format is None and CSV in accept and "json" not in accept)

    async def parts() -> AsyncIterator[str]:
        async for _, text in consents.export(context, owner.id, as_json=not wants_csv):
            yield text

    kind = f"{CSV}; charset=utf-8; header=present" if wants_csv else JSON_LINES
    return StreamingResponse(parts(), media_type=kind, headers={"Vary": "Accept"})


@router.operation("GET", "/verify", READ)
async def verify(
    context: Context,
    account: AccountFilter = None,
    head: Annotated[Line | None, Query(max_length=100, description="A head that was kept: `12:0f3a...`.")] = None,
) -> VerifiedLedger:
    """Check the chain of hashes of an account's ledger from its beginning. It is read whole."""
    owner = (await context.account(own_account(context, account))).account
    noted = consents.parse_head(head) if head else None
    async for step in consents.verify(context, owner.id, noted):
        if isinstance(step, Verified):
            found = step
    return VerifiedLedger(
        account=owner.name,
        entries=found.head.number,
        head=f"{found.head.number}:{found.head.hash.hex()}",
        faults=[LedgerFaultItem(entry=each.number, text=each.text) for each in found.faults],
    )


def _finding(found: RecordedFinding) -> ListFindingItem:
    return ListFindingItem.model_validate(found)


@router.operation("GET", "/findings", READ, response_model=ListPage[ListFindingItem])
async def findings(
    context: Context,
    paging: PagingParameters,
    account: AccountFilter = None,
    all: Annotated[bool, Query(description="Dismissed ones too.")] = False,
) -> Response:
    """List what was found in imported lists, the newest first: addresses that another account has too, role addresses,
    traps."""
    found = await list_findings.list_all(context, account, dismissed=all, limit=MOST_FINDINGS)
    items = [(each.id, _finding(each)) for each in found]
    return await listed_from(paging, ListFindingItem, _CURSOR, items, newest_first=True)


@router.operation("POST", "/findings/{finding}/dismiss", WRITE, status_code=204, operators_only=True)
async def dismiss_finding(context: Context, finding: FindingNumber, body: BecauseOf) -> None:
    """Dismiss a finding after a look at the list; mailings of the account no longer wait for it."""
    await list_findings.dismiss(context, finding, reason=body.reason)
