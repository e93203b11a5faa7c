"""``/v1/audit``: who changed what, from where, when and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Response

from mta.web.api.fields import AccountFilter, Line, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("audit")

_CURSOR: Cursor[int] = Cursor(RowId)


class AuditItem(Model):
    """``outcome``: done, refused, failed; begun: the process died, and it was done or not."""

    id: int
    at: datetime
    actor: str
    role: str
    via: str
    source: str
    action: str
    subject: str
    account: str | None
    reason: str
    outcome: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@router.operation("GET", "", "audit:read", response_model=ListPage[AuditItem])
async def list_(
    context: Context,
    paging: PagingParameters,
    account: AccountFilter = None,
    actor: Annotated[Line | None, Query(max_length=100, description="Only what this user or token did.")] = None,
    action: Annotated[
        Line | None, Query(max_length=100, description="Only this action, e.g. `suppression.lift`; or `suppression`.")
    ] = None,
) -> Response:
    """List what was changed, the newest first."""
    account_id = await context.account_filter(account)

    async def fetch(before: int | None, limit: int) -> Sequence[tuple[int, AuditItem]]:
        rows = await context.store.audit.list(
            account_id=account_id, actor=actor, action=action, before=before, limit=limit
        )
        return [(each.id, AuditItem.model_validate(each)) for each in rows]

    return await listed(paging, AuditItem, _CURSOR, fetch)
