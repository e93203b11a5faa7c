"""``/v1/service``: make the running service read its configuration again."""

from __future__ import annotations

from fastapi import Request

from mta.admin.errors import Refused
from mta.admin.service import reload as reloading
from mta.admin.service.reload import ServiceControl
from mta.web.api.fields import Model
from mta.web.api.routing import ApiRouter, Context

router = ApiRouter("service")


class ReloadBody(Model):
    """``dry_run``: only say what would change."""

    dry_run: bool = False


class ReloadedService(Model):
    """``changes``: a line for each key that differs from what was in use; ``needs_restart``: what stays as it is until
    then; ``remarks``: what will not work or may surprise; ``queued_mail``: with ``dry_run``, what the changes mean for
    it."""

    dry_run: bool
    changes: list[str]
    needs_restart: list[str]
    remarks: list[str]
    queued_mail: list[str]


@router.operation("POST", "/reload", "service:write")
async def reload(request: Request, context: Context, body: ReloadBody) -> ReloadedService:
    """Read the configuration file again, in all processes. With a mistake in it nothing changes: 409, and `errors` has
    each, with file and line."""
    control: ServiceControl | None = request.app.state.control
    if control is None:
        raise Refused("this process has no supervisor to ask")
    done = await reloading.reload(context, control, dry_run=body.dry_run)
    return ReloadedService(
        dry_run=body.dry_run,
        changes=list(done.changes),
        needs_restart=list(done.waiting),
        remarks=list(done.remarks),
        queued_mail=list(done.queued_mail),
    )
