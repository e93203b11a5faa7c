"""The README's "First mail", typed into a shell line by line: it ends with a delivered message.

Where it can, the shell gets a network of its own, because the README's ports are fixed.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTS = (2525, 2526, 8025)
PATIENCE = 100.0  # seconds
MARK = "--- done"
LOOPBACK_UP = (
    "import fcntl, socket, struct; s = socket.socket(); "
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 1))"  # SIOCSIFFLAGS, IFF_UP
)


def first_mail() -> list[str]:
    """The commands of the section, without their comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## First mail\n")[2]
    lines = section.split("```\n")[1].splitlines()
    return [command for line in lines if (command := line.partition("  #")[0].rstrip()) and not command.startswith("#")]


def shell_command() -> list[str]:
    isolated = ["unshare", "--net", "bash"]
    if os.geteuid() == 0 and shutil.which("unshare") and subprocess.run([*isolated, "-c", "true"]).returncode == 0:
        return isolated
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port} is taken, and there is no network of our own without root")
    return ["bash"]


class Shell:
    """What is typed, and what the screen shows."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            shell_command(),
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"HOME": str(folder)},
        )
        self.screen = ""

    def type(self, command: str) -> str:
        """Run ``command``; return what appears until it has ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{command}\nstatus=$?; echo; echo '{MARK}' $status\n")
        self._process.stdin.flush()
        seen = ""
        for line in self._process.stdout:
            if line.startswith(MARK):
                assert line == f"{MARK} 0\n", f"{command} ended with {line}\n{seen}"
                return seen
            seen += line
            self.screen += line
        raise AssertionError(f"the shell ended at {command}: {seen}")

    def close(self) -> None:
        self._process.communicate("kill $(jobs -p); wait\n", timeout=PATIENCE)


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell in a checkout after `make setup`: the environment and the shipped files are there."""
    with tempfile.TemporaryDirectory(prefix="imprimatur-readme-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root the database runs as another user
        (folder / ".venv").symlink_to(sys.prefix)
        shutil.copytree(ROOT / "config/defaults", folder / "config/defaults")
        shell = Shell(folder)
        shell.type(f'"{sys.executable}" -c "{LOOPBACK_UP}" || true')
        yield shell
        shell.close()


def wait_until(shell: Shell, command: str, text: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while text not in (seen := shell.type(f"{command} || true")):
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    return seen


def test_the_first_mail_is_delivered(shell: Shell) -> None:
    secret = message = ""
    for command in first_mail():
        line = command.replace("=SECRET", f"={secret}").replace("explain ID", f"explain {message}")
        seen = wait_until(shell, line, "delivered") if line.startswith("mta explain") else shell.type(line)
        if found := re.search(r"^ *secret +(\S+)$", seen, re.MULTILINE):
            secret = found[1]
        if found := re.search(r"250 2\.0\.0 OK: queued as (\w+)", seen):
            message = found[1]
        if line.startswith("mta serve"):  # people need longer to type the next line
            wait_until(shell, "curl -s http://127.0.0.1:8025/readyz", '"ok":true')
    assert secret
    assert message
    wait_until(shell, "cat inbox/new/*", f"id {message}")
    assert "<news@example.com> to <you@example.net>" in shell.screen
