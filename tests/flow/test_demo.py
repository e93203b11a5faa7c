"""The demo as its users run it: all results are as expected, and nothing is left behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "mta", "demo"]
PATIENCE = 100.0  # seconds


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Temporary files in a directory of the test's, which must be empty again afterwards.

    Not in ``tmp_path``: that is closed to others, and as root the database runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="imprimatur-demo-test-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        yield os.environ | {"TMPDIR": folder}
        wait_until(lambda: not remains(home), lambda: f"left behind: {remains(home)}")


def wait_until(condition: Callable[[], object], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


def remains(home: Path) -> list[str]:
    """Files in ``home``, and processes that were started for it."""
    found = [str(path) for path in home.iterdir()]
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(home) in text:
            found.append(f"{command.parent.name}: {text}")
    return found


def start(environment: dict[str, str], output: Path) -> subprocess.Popen[bytes]:
    with open(output, "wb") as file:
        return subprocess.Popen(DEMO, stdout=file, stderr=file, env=environment, start_new_session=True)


def test_once_all_results_are_as_expected(environment: dict[str, str]) -> None:
    done = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, env=environment, timeout=2 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All results as expected." in done.stdout
    assert "dkimpy accepts 2 of 2" in done.stdout


@pytest.mark.nightly
def test_it_stays_until_told_to_end_and_can_be_looked_at(environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = start(environment, output)
    wait_until(lambda: "Press Ctrl-C" in output.read_text(), output.read_text)
    text = output.read_text()
    config = re.findall(r"MTA_CONFIG=(\S+)", text)[0]
    message = re.findall(r"explain (\S+)", text)[0]
    for words, part in (
        (["explain", message], "dkim: pass (signed with rsa._domainkey.demo.example"),
        (["queue", "list"], "full@club.example"),
        (["top", "--once"], "running"),
    ):
        command = [sys.executable, "-m", "mta", *words, "--config", config]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert part in shown.stdout, shown.stdout + shown.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("file", "number"),
    [
        ("rsa.pem", signal.SIGKILL),
        ("data/postgres", signal.SIGTERM),
        ("data/postgres", signal.SIGKILL),
        ("data/run/state.json", signal.SIGHUP),
        ("data/run/state.json", signal.SIGKILL),
    ],
)
def test_ended_at_any_point_it_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, file: str, number: signal.Signals
) -> None:
    """``file``: what has just been made when the signal comes."""
    process = start(environment, tmp_path / "output")
    home = Path(environment["TMPDIR"])
    wait_until(lambda: list(home.glob(f"*/{file}")), lambda: f"{file} was never made")
    process.send_signal(number)
    process.wait(PATIENCE)
