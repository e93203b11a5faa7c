"""Make the running service read its configuration again, or say what that would change.

Invariants: a file with a mistake changes nothing; the answer names each, with file and line. Only the supervisor reads
the file: what it may read, another process may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.schema import Settings
from mta.admin.context import AdminContext
from mta.admin.errors import ConfigRejected
from mta.admin.service.reload_preview import effects


@dataclass(frozen=True, slots=True)
class ReloadReply:
    """What the supervisor says. ``mistakes``: why the file is not used; ``changes``: a line for each key that differs;
    ``waiting``: what needs a restart; ``remarks``: what may surprise. ``settings``: of the file, ``in_use``: those
    before; None if the file has mistakes."""

    mistakes: Sequence[str] = ()
    changes: Sequence[str] = ()
    waiting: Sequence[str] = ()
    remarks: Sequence[str] = ()
    settings: Settings | None = None
    in_use: Settings | None = None


class ServiceControl(Protocol):
    """The way to the supervisor."""

    async def reload(self, *, dry_run: bool) -> ReloadReply:
        """Let it read the file. Raises Refused if it does not answer."""
        ...


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """``queued_mail``: with a dry run, what the changes mean for it."""

    changes: Sequence[str]
    waiting: Sequence[str]
    remarks: Sequence[str]
    queued_mail: Sequence[str] = ()


async def reload(context: AdminContext, control: ServiceControl, *, dry_run: bool = False) -> ReloadResult:
    """Read the configuration again; with ``dry_run`` change nothing. Raises Forbidden, ConfigRejected, Refused,
    StoreUnavailable."""
    context.require_operator()
    if dry_run:
        reply = _accepted(await control.reload(dry_run=True))
        old, new = reply.in_use, reply.settings
        queued = await effects(old, new, context.store) if old and new and reply.changes else ()
        return ReloadResult(reply.changes, reply.waiting, reply.remarks, queued)
    async with context.audited("service.reload") as entry:
        reply = _accepted(await control.reload(dry_run=False))
        entry.after.update(changes=list(reply.changes), needs_restart=list(reply.waiting))
    return ReloadResult(reply.changes, reply.waiting, reply.remarks)


def _accepted(reply: ReloadReply) -> ReloadReply:
    if reply.mistakes:
        raise ConfigRejected(reply.mistakes)
    return reply
