"""``/v1/jobs``: what takes longer than a request: how far it is, and the mistakes that it found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Response

from mta.admin.files.import_jobs import find_job
from mta.store.journal.jobs import RecordedJob
from mta.web.api.fields import AccountFilter, Model
from mta.web.api.listing import Cursor, ListPage, PagingParameters, RowId, listed
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("jobs")

_CURSOR: Cursor[int] = Cursor(RowId)
JobNumber = Annotated[int, Path(ge=1, lt=2**63, description="Number of the job.")]


class JobItem(Model):
    """``state``: running, done or failed. ``account`` null: it is about all. ``result``: counts."""

    id: int
    kind: str
    account: str | None
    state: str
    created_by: str
    created_at: datetime
    changed_at: datetime
    finished_at: datetime | None
    result: dict[str, Any]


class LineError(Model):
    """``line``: 0 if it is about the whole file."""

    line: int
    text: str


class JobDetails(JobItem):
    """``errors``: the first 1000 mistakes."""

    errors: list[LineError]


def job_item(job: RecordedJob) -> JobItem:
    return JobItem.model_validate(job)


@router.operation("GET", "", "jobs:read", response_model=ListPage[JobItem])
async def list_(context: Context, paging: PagingParameters, account: AccountFilter = None) -> Response:
    """List jobs, the newest first."""
    account_id = await context.account_filter(account)

    async def fetch(before: int | None, limit: int) -> Sequence[tuple[int, JobItem]]:
        found = await context.store.jobs.list(account_id, before=before, limit=limit)
        return [(each.id, job_item(each)) for each in found]

    return await listed(paging, JobItem, _CURSOR, fetch)


@router.operation("GET", "/{number}", "jobs:read")
async def show(context: Context, number: JobNumber) -> JobDetails:
    """Return how far a job is, with the lines that could not be used."""
    job = await find_job(context, number)
    return JobDetails(**dict(job_item(job)), errors=[LineError.model_validate(dict(each)) for each in job.errors])
