"""``mta serve`` and ``mta reload``: run the service, and make the running one read its configuration again.

A file is checked before the running service is told; the service checks it again and answers through
``run/reload.json``.

Limitations: settings that need a restart stay as they are; the answer names those that were changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mta.cli.context import load_settings, with_store
from mta.cli.installation import changed_files, refuse
from mta.cli.options import ConfigOption, DryRunOption, find_config, require_span
from mta.cli.output import errors_reported, fail

if TYPE_CHECKING:
    from config.schema import Settings
    from mta.store.postgres.embedded import EmbeddedPostgres

POLL = 0.05  # seconds between looks for the answer


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def register_reload(app: typer.Typer) -> None:
    app.command("reload")(reload)


def serve(config: ConfigOption = None) -> None:
    """Run the service in the foreground: submission, queue, delivery, and its own database if none is configured.

    Signals: TERM and INT stop it in order, HUP reloads the configuration, USR1 reopens the event log.
    """
    from mta.service.descriptors import raise_limit
    from mta.store.postgres.embedded import EmbeddedPostgres

    raise_limit()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # until the supervisor handles them
    refuse_foreign_files()
    settings = load_settings(config)
    if settings.database.url:
        _run(config, None)
        return
    memory = settings.database.memory
    embedded = EmbeddedPostgres(settings.server.data_dir / "postgres", user=settings.server.user, memory=memory)
    try:
        embedded.begin()  # the database starts while the service is imported
        _run(config, embedded)
    finally:
        embedded.stop()


def refuse_foreign_files() -> None:
    """End the command with status 2 if another distribution has written over our files."""
    foreign, _ = changed_files()
    if foreign:
        refuse(foreign)


def _run(config: Path | None, embedded: EmbeddedPostgres | None) -> None:
    import asyncio

    from mta.observe.log import configure, get_logger
    from mta.service.config_validation import load_valid
    from mta.service.fork_server import ForkServer
    from mta.service.supervisor import AlreadyRunning, Supervisor

    fork_server = ForkServer()
    fork_server.fork()  # before there are keys, files, threads or an event loop for children to inherit
    with errors_reported():
        valid = load_valid(find_config(config))
    settings = valid.settings
    configure(settings.observe.log_level, process="supervisor")
    for remark in valid.remarks:
        get_logger().warning("configuration", remark=remark)
    try:
        asyncio.run(Supervisor(find_config(config), settings, fork_server, embedded).run())
    except (AlreadyRunning, OSError) as error:
        fail(str(error))


def reload(
    config: ConfigOption = None,
    wait: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for the service's answer.")] = "15s",
    dry_run: DryRunOption = False,
) -> None:
    """Make the running service read its configuration again. Exit status 2 if the file is wrong, 1 if none runs.

    With --dry-run: show what would change, and what that means for queued mail.
    """
    from mta.service.config_validation import load_valid

    patience = require_span(wait, "--wait").total_seconds()
    with errors_reported():
        settings = load_valid(find_config(config)).settings
    run_dir = settings.server.data_dir / "run"
    pid = running(run_dir / "supervisor.pid")
    if pid is None:
        fail(f"no service runs on {settings.server.data_dir}; start it with `mta serve`")
    if dry_run:
        _preview(settings, run_dir)
        return
    before = _answer(run_dir / "reload.json")
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        fail(f"process {pid} belongs to another user; run this as that user or as root")
    answer = _await(run_dir / "reload.json", before, patience)
    if answer is None:
        fail(f"process {pid} did not answer within {patience:g} seconds; see its log")
    if not answer["ok"]:
        fail("\n".join(["the service rejected the file and keeps its settings:", *answer["lines"]]), status=2)
    print("Configuration reloaded.")
    for line in answer.get("waiting", ()):
        print(f"Needs a restart: {line}")


def _preview(settings: Settings, run_dir: Path) -> None:
    """Print what a reload would change."""
    from config.changes import described, waiting_for_restart
    from mta.cli.service.reload_preview import effects, settings_in_use

    old = settings_in_use(run_dir)
    if old is None:
        fail(
            f"{run_dir}/config.json does not say what is in use; restart the service once, or reload without --dry-run"
        )
    changes = described(old, settings)
    if not changes:
        print("Nothing would change.")
        return
    print("\n".join(["Would change:", *(f"  {line}" for line in changes)]))
    found = with_store(settings, lambda store: effects(old, settings, store))
    print("\n".join(["For queued mail:", *(f"  {line}" for line in found or ["nothing"])]))
    for line in waiting_for_restart(old, settings):
        print(f"Needs a restart: {line}")


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


def _answer(path: Path) -> dict[str, Any] | None:
    import orjson

    with contextlib.suppress(OSError, ValueError):
        answer = orjson.loads(path.read_bytes())
        if isinstance(answer, dict) and {"at", "ok", "lines"} <= answer.keys():
            return answer
    return None


def _await(path: Path, before: dict[str, Any] | None, seconds: float) -> dict[str, Any] | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = _answer(path)
        if answer is not None and (before is None or answer["at"] != before["at"]):
            return answer
        time.sleep(POLL)
    return None
