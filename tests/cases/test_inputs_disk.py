"""The disk fills up under the running service: clients are told what it is, the operator where, and nothing is lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import smtplib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.service import Service
from tests.flow.harness import SENDER, message, open_directory
from tests.warm_service import WarmService

STEPS = (Path(__file__).parent / "inputs" / "37-disk-full.txt").read_text().strip().split("; ")
PATIENCE = 60.0  # seconds


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """The file system of the case."""
    with open_directory() as directory:
        mounted = subprocess.run(shlex.split(STEPS[0].replace("DIR", str(directory))), capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
        directory.chmod(0o755)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
def service(small_disk: Path, tmp_path: Path) -> Iterator[Service]:
    """A service whose data are on the small disk; nothing else is."""
    settings: dict[str, Any] = {
        "server": {"workers": 1, "data_dir": str(small_disk / "data"), "shutdown_grace": "5s"},
        "queue": {"retry_schedule": ["1h"]},
        "dns": {"servers": ["127.0.0.1:1"]},  # nobody answers: what was accepted stays in the queue
    }
    service = WarmService(tmp_path, settings)
    service.start()
    service.cli(
        *shlex.split("account add disk --domain sender.example --network 127.0.0.0/8 --approve tests --verified")
    )
    try:
        yield service
    finally:
        service.stop()


def submit(service: Service, accepted: list[str]) -> str:
    """Return the last reply to a message, and note it if it was accepted."""
    with smtplib.SMTP("127.0.0.1", service.port, timeout=30) as client:
        client.ehlo()
        for code, text in (client.mail(SENDER), client.rcpt("ann@example.com")):
            if code != 250:
                return f"{code} {text.decode()}"
        code, text = client.data(message())
        if code == 250:
            accepted.append(text.decode())
        return f"{code} {text.decode()}"


def readiness(service: Service, path: str = "/readyz") -> tuple[int, dict[str, bool]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.web_port}{path}", timeout=10) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except (OSError, http.client.HTTPException):
        return 0, {}
    return status, {check["name"]: check["ok"] for check in json.loads(body)["checks"]}


def until(condition: Callable[[], bool], service: Service) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, service.output()
        time.sleep(0.1)


def fill(place: Path) -> None:
    """As dd does: until there is no room."""
    with place.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_37_disk_full(service: Service, small_disk: Path) -> None:
    accepted: list[str] = []
    assert submit(service, accepted).startswith("250 2.0.0")
    assert readiness(service)[0] == 200

    fill(small_disk / "fill")
    until(lambda: submit(service, accepted).startswith("452 4.3.1"), service)
    until(lambda: readiness(service)[1].get("disk") is False, service)
    assert readiness(service)[0] == 503
    assert readiness(service, "/healthz")[0] == 200
    assert {submit(service, accepted)[:9] for _ in range(30)} == {"452 4.3.1"}
    until(lambda: "disk nearly full" in service.output(), service)
    lines = [line for line in service.output().splitlines() if "disk nearly full" in line]
    assert len(lines) == 1
    assert re.search(rf'"disk":"{small_disk}/data[^"]*: 0 MB free, of a reserve of \d+ MB"', lines[0])
    assert '"free_bytes":0' in lines[0]

    (small_disk / "fill").unlink()
    until(lambda: submit(service, accepted).startswith("250 2.0.0"), service)
    until(lambda: readiness(service)[0] == 200, service)
    until(lambda: "disk has room again" in service.output(), service)
    assert service.cli("queue", "list", "--limit", "1000").count("ann@example.com") == len(accepted)
    assert "Traceback" not in service.output()


def test_the_case_is_the_one_that_is_tested() -> None:
    assert [step.split()[0] for step in STEPS] == ["mount", "data_dir", "start", "dd", "submit", "rm", "submit"]
