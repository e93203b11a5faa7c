"""`make setup` on machines where it cannot work: one line says why, at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("setup-environment", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {name: value for name, value in os.environ.items() if not name.lower().startswith(("pip_", "http"))}
    return subprocess.run(
        [checkout / "setup-environment", "run"], capture_output=True, text=True, env=ours | environment, timeout=100
    )


def fake_python(folder: Path, version: str) -> str:
    """An interpreter that knows nothing but its version."""
    minor = version.partition(".")[2]
    path = folder / f"python{version}"
    path.write_text(f'#!/bin/sh\ncase "$2" in *exit*) [ {minor} -ge 11 ];; *) echo {version};; esac\n')
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_named(checkout: Path) -> None:
    python = fake_python(checkout, "3.10")
    done = setup(checkout, PYTHON=python)
    assert done.returncode == 1
    assert done.stderr == (
        f"setup: {python} is Python 3.10, and 3.11 or newer is needed; name another one: make PYTHON=python3.12\n"
    )
    assert not (checkout / ".venv").exists()


def test_no_python_is_named(checkout: Path) -> None:
    done = setup(checkout, PYTHON="python9")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "python9 cannot be run" in done.stderr


def test_the_system_s_python_is_used_where_it_is_better(checkout: Path) -> None:
    shutil.move(fake_python(checkout, "3.10"), checkout / "python3")
    path = f"{checkout}:{os.environ['PATH']}"
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = setup(checkout, PYTHON="", PATH=path, SYSTEM_PYTHON=sys.executable, **nowhere)
    assert done.stdout.startswith(f"setup: {sys.executable} is used: python3 is slower, or cannot be")
    assert "no network" in done.stderr
    assert (checkout / ".venv/bin/python").exists()
    again = setup(checkout, PYTHON="", PATH=path, SYSTEM_PYTHON="/nowhere", **nowhere)
    assert "no network" in again.stderr, "an environment keeps its Python"


def test_a_missing_network_is_said_in_one_line(checkout: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = setup(checkout, PYTHON=sys.executable, **nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "setup: no network: 127.0.0.1 cannot be reached (Connection refused), and the packages"
    )
    assert len(done.stderr.splitlines()) == 1


def test_what_is_ready_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    names = ("requirements.lock", "requirements-dev.lock", "pyproject.toml")
    content = b"".join((checkout / name).read_bytes() for name in names)
    summed = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.decode().strip()
    (checkout / ".venv/ready-dev").write_text(f"{version} {summed}\n")
    done = setup(checkout, PYTHON=sys.executable)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.nightly
def test_an_environment_of_another_python_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv/lib/python3.9/site-packages").mkdir(parents=True)
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    done = setup(checkout, PYTHON=sys.executable, **nowhere)
    assert "setup: .venv is of another Python (3.9): it is made anew for 3." in done.stdout
    assert not (checkout / ".venv/lib/python3.9").exists()
