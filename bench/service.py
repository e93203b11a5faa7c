"""The service as a child process: ``mta serve`` with its own configuration, data directory and ports.

Invariants: It runs exactly as for an operator: same command, same configuration file, same signals.
Limitations: Linux only (processes are found in /proc).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bench import processes
from bench.postfix import stop

MTA = [sys.executable, "-m", "mta"]
_given: set[int] = set()  # ports
_START_PATIENCE = 60.0  # seconds, on a busy machine, the making of the database included


@dataclass
class Service:
    """``settings``: sections of the configuration file, merged over those that make it private. Ports are chosen here.

    ``environment``: additional variables for the service. ``open_files``: its hard limit, if it is not ours.
    """

    directory: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_port())
    web_port: int = field(default_factory=lambda: free_port())
    admin_port: int = field(default_factory=lambda: free_port())
    environment: dict[str, str] = field(default_factory=dict)
    open_files: int | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "mta.toml"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def events(self) -> Path:
        return self.directory / "events.jsonl"

    def configure(self, **sections: Any) -> None:
        """Write the configuration file; ``sections`` are merged over ``settings``."""
        self.directory.mkdir(parents=True, exist_ok=True)
        private: dict[str, Any] = {
            "server": {"hostname": "mta.bench.example", "data_dir": str(self.data)},
            "submission": {"listeners": [{"address": "127.0.0.1", "port": self.port, "tls": "none"}]},
            "observe": {"events": str(self.events)},
            "web": {"address": "127.0.0.1", "port": self.web_port, "admin": {"port": self.admin_port}},
        }
        self.config.write_text(to_toml(merged(merged(private, self.settings), sections)))

    def start(self, *, ready: bool = True) -> None:
        """Start it and wait until it is ready. Raises RuntimeError with its output if it ends or takes too long."""
        if not self.config.exists():
            self.configure()
        with (self.directory / "output").open("ab") as output:
            self.process = self.launch("serve", "--config", str(self.config), output=output)
        if ready:
            try:
                self.wait_ready()
            except BaseException:
                self.stop()
                raise

    def launch(self, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Run ``mta ARGUMENTS`` in a session of its own."""
        limited = ["sh", "-c", f'ulimit -n {self.open_files}; exec "$@"', "sh"] if self.open_files else []
        return subprocess.Popen(
            [*limited, *MTA, *arguments],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def wait_ready(self, patience: float = _START_PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not self.is_ready():
            if self.process is None or self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service is not ready:\n{self.output()}")
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether /readyz answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False

    def stop(self, patience: float = 60) -> int | None:
        """Send SIGTERM and wait; return the exit status, None if it was not running."""
        if self.process is None:
            return None
        stop(self.process, patience)
        return self.process.returncode

    def freeze(self) -> set[int]:
        """Send SIGSTOP to all processes, PostgreSQL included; return their ids. From now on none sees another die."""
        return signal_all(processes.tree(self.roots()), signal.SIGSTOP)

    def kill(self, pids: set[int]) -> None:
        """Send SIGKILL to frozen processes, which is as close to a power cut as signals get; wait for their end."""
        signal_all(pids, signal.SIGKILL)
        if self.process:
            self.process.wait()
        while any(map(processes.is_alive, pids)):
            time.sleep(0.01)

    def kill_everything(self) -> None:
        """Kill all processes at once, PostgreSQL included."""
        self.kill(self.freeze())

    def freeze_database(self) -> set[int]:
        """Send SIGSTOP to all processes of PostgreSQL; return their ids."""
        postmaster = self.postmaster()
        assert postmaster, "the database is not running"
        return signal_all(processes.tree([postmaster]), signal.SIGSTOP)

    def kill_database(self) -> None:
        """Kill all processes of PostgreSQL at once."""
        signal_all(self.freeze_database(), signal.SIGKILL)

    def cli(self, *arguments: str, check: bool = True, patience: float = 120) -> str:
        """Run ``mta ARGUMENTS --config ...``; return its output. Raises RuntimeError with its errors if it fails."""
        command = [*MTA, *arguments, "--config", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False)
        if check and done.returncode:
            raise RuntimeError(f"mta {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def roots(self) -> list[int]:
        """Return the supervisor and PostgreSQL's postmaster, which has no parent of ours."""
        pids = [self.process.pid] if self.process and self.process.poll() is None else []
        return [*pids, *filter(None, [self.postmaster()])]

    def postmaster(self) -> int | None:
        """Return the process id of the embedded PostgreSQL, if it is running."""
        try:
            pid = int((self.data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if "postgres" in processes.command(pid) else None

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        if self.process is None:
            return []
        return sorted(pid for pid in processes.tree([self.process.pid]) if processes.name(pid).startswith("mta worker"))

    def state(self) -> dict[str, int | None]:
        """Return the process ids of the children by name, from the supervisor's state file."""
        state = json.loads((self.data / "run" / "state.json").read_bytes())
        return {child["name"]: child["pid"] for child in state["children"]}

    def output(self) -> str:
        """Return the end of its output."""
        path = self.directory / "output"
        return path.read_text(errors="replace")[-8000:] if path.is_file() else ""


def signal_all(pids: set[int], number: signal.Signals) -> set[int]:
    """Send a signal to those of ``pids`` that are alive; return them."""
    reached = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            reached.add(pid)
    return reached


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` merged in, table by table; lists are replaced."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


def to_toml(sections: Mapping[str, Any]) -> str:
    """Return a TOML document of nested tables, lists, strings, numbers and booleans."""
    return "".join(f"{name} = {_inline(value)}\n" for name, value in sections.items())


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_inline(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a free TCP port outside the range that the system uses for outgoing connections, each only once."""
    while True:
        port = random.randrange(10_000, 32_000)
        if port in _given:
            continue
        try:
            socket.create_server((address, port)).close()
        except OSError:
            continue
        _given.add(port)
        return port
