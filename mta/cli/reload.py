"""``mta reload``: use the changed configuration file, if it is right.

The file is checked here first, then again by the supervisor, which answers through ``run/reload.json``.

*Limits.* Settings that need a restart stay as they are; the documentation marks them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from mta.cli.check import checked
from mta.cli.options import ConfigOption
from mta.cli.output import fail

POLL = 0.05  # seconds between looks for the answer


def register(app: typer.Typer) -> None:
    app.command("reload")(reload)


def reload(
    config: ConfigOption = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the service's answer.")] = 15.0,
) -> None:
    """Make the running service read its configuration again. Ends with 2 for a file with mistakes, 1 if none runs."""
    settings, _ = checked(config)
    run_dir = settings.server.data_dir / "run"
    pid = running(run_dir / "supervisor.pid")
    if pid is None:
        fail(f"no service runs on {settings.server.data_dir}; start it with: mta serve")
    before = _answer(run_dir / "reload.json")
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        fail(f"process {pid} belongs to somebody else; run this as its user or as root")
    answer = _await(run_dir / "reload.json", before, wait)
    if answer is None:
        fail(f"process {pid} did not answer within {wait:g} seconds; see its log")
    if not answer["ok"]:
        fail("\n".join(["the service refused the file and keeps its settings:", *answer["lines"]]), status=2)
    print("ok: the service uses the new settings")


def running(pid_file: Path) -> int | None:
    """The supervisor's process id, or None. It holds a lock on the file, so that a stale number deceives nobody."""
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
    with contextlib.suppress(OSError, ValueError):
        answer = json.loads(path.read_text())
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
