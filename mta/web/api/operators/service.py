"""``/v1/health``: whether mail can be taken now."""

from __future__ import annotations

from fastapi import Request

from mta.web.api.fields import Model
from mta.web.api.routing import ApiRouter
from mta.web.readiness import ServiceReadiness

router = ApiRouter("health")


class CheckItem(Model):
    """``detail``: for people."""

    name: str
    ok: bool
    detail: str


class Health(Model):
    ok: bool
    checks: list[CheckItem]


@router.operation("GET", "", "service:read")
async def show(request: Request) -> Health:
    """Return whether mail can be taken now, and each check."""
    readiness: ServiceReadiness = request.app.state.readiness
    checks = [CheckItem.model_validate(each) for each in await readiness.checks()]
    return Health(ok=all(each.ok for each in checks), checks=checks)
