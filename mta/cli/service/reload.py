"""``mta reload``: make the running service read its configuration again.

A file is checked before the running service is told; the service checks it again and answers through
``run/reload.json``.

Limitations: settings that need a restart stay as they are; the answer names those that were changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import with_admin
from mta.cli.options import ConfigOption, DryRunOption, find_config, require_span
from mta.cli.output import errors_reported, fail

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.admin.context import AdminContext
    from mta.admin.service.reload import ReloadReply, ReloadResult

POLL = 0.05  # seconds between looks for the answer


def register(app: typer.Typer) -> None:
    app.command("reload")(reload)


def reload(
    config: ConfigOption = None,
    wait: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the service's answer.")] = "15s",
    dry_run: DryRunOption = False,
) -> None:
    """Make the running service read its configuration again. Exit status 2 if the file is wrong, 1 if none runs.

    With --dry-run: show what would change, and what that means for queued mail.
    """
    from mta.admin.errors import ConfigRejected
    from mta.admin.service import reload as reloading
    from mta.service.config_validation import load_valid

    patience = require_span(wait, "--wait").total_seconds()
    with errors_reported():
        settings = load_valid(find_config(config)).settings
    run_dir = settings.server.data_dir / "run"
    pid = running(run_dir / "supervisor.pid")
    if pid is None:
        fail(f"no service runs on {settings.server.data_dir}; start it with `mta serve`")
    service = RunningService(pid, run_dir, settings, patience)

    async def work(context: AdminContext) -> ReloadResult:
        try:
            return await reloading.reload(context, service, dry_run=dry_run)
        except ConfigRejected as error:
            fail("\n".join(["the service rejected the file and keeps its settings:", *error.mistakes]), status=2)

    _print(with_admin(settings, work), dry_run=dry_run)


def _print(done: ReloadResult, *, dry_run: bool) -> None:
    if not dry_run:
        print("Configuration reloaded.")
    elif not done.changes:
        print("Nothing would change.")
    else:
        print("\n".join(["Would change:", *(f"  {line}" for line in done.changes)]))
        print("\n".join(["For queued mail:", *(f"  {line}" for line in done.queued_mail or ["nothing"])]))
    for line in done.waiting:
        print(f"Needs a restart: {line}")


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service of this machine, which is told by a signal. ``settings``: of the file, checked; ``patience``: seconds
    to wait for the answer."""

    pid: int
    run_dir: Path
    settings: Settings
    patience: float

    async def reload(self, *, dry_run: bool) -> ReloadReply:
        """Raises Refused, ConfigError."""
        from mta.admin.errors import Refused
        from mta.admin.service.reload import ReloadReply

        if dry_run:
            return self._preview()
        before = self._answer()
        try:
            os.kill(self.pid, signal.SIGHUP)
        except PermissionError:
            raise Refused(f"process {self.pid} belongs to another user; run this as that user or as root") from None
        end = time.monotonic() + self.patience
        while time.monotonic() < end:
            answer = self._answer()
            if answer is not None and (before is None or answer["at"] != before["at"]):
                return ReloadReply(answer["lines"], answer.get("changes", ()), answer.get("waiting", ()))
            await asyncio.sleep(POLL)
        raise Refused(f"process {self.pid} did not answer within {self.patience:g} seconds; see its log")

    def _preview(self) -> ReloadReply:
        from config.changes import described, waiting_for_restart
        from mta.admin.errors import Refused
        from mta.admin.service.reload import ReloadReply
        from mta.admin.service.reload_preview import settings_in_use

        old, new = settings_in_use(self.run_dir), self.settings
        if old is None:
            raise Refused(
                f"{self.run_dir}/config.json does not say what is in use; restart the service once, or reload without "
                "--dry-run"
            )
        return ReloadReply((), described(old, new), waiting_for_restart(old, new), settings=new, in_use=old)

    def _answer(self) -> dict[str, Any] | None:
        import orjson

        with contextlib.suppress(OSError, ValueError):
            answer = orjson.loads((self.run_dir / "reload.json").read_bytes())
            if isinstance(answer, dict) and {"at", "ok", "lines"} <= answer.keys():
                return answer
        return None


def running(pid_file: Path) -> int | None:
    """Return the supervisor's process id, None if it does not hold the lock on the file: a number left behind."""
    try:
        with pid_file.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read(20))
            return None
    except PermissionError:
        fail(f"{pid_file}: permission denied; run this as the service's user or root")
    except (OSError, ValueError):
        return None
