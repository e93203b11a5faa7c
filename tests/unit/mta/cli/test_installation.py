"""Packages of other distributions that lie over ours, as pip leaves them: named, and nothing of them is run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from importlib.metadata import distribution
from pathlib import Path

import pytest

from mta.cli import installation

ROOT = Path(installation.__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Our packages as a wheel installs them, with the list of their files."""
    folder = tmp_path / "site-packages"
    for name in installation.PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    record(folder, "imprimatur_mta-0.1.0", "imprimatur-mta", sorted(folder.rglob("*.py")))
    entry_points = distribution("imprimatur-mta").read_text("entry_points.txt")
    assert entry_points is not None
    (folder / "imprimatur_mta-0.1.0.dist-info" / "entry_points.txt").write_text(entry_points)
    return folder


def record(site: Path, folder: str, name: str, files: list[Path]) -> None:
    lines = []
    for file in files:
        digest = urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
        lines.append(f"{file.relative_to(site)},sha256={digest},{file.stat().st_size}\n")
    info = site / f"{folder}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "RECORD").write_text("".join(lines))


def install(site: Path, *files: str) -> None:
    """Install another distribution called ``config``, whose files report that they were run."""
    for file in files:
        (site / file).write_text("print('foreign code')\n")
    record(site, "config-0.5.1", "config", [site / file for file in files])


def mta(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mta", *words]
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, timeout=60)


def test_what_was_installed_runs(site: Path) -> None:
    done = mta(site, "check")
    assert (done.returncode, "changed" in done.stdout) == (0, False), done.stderr


@pytest.mark.parametrize("words", [["check"], ["serve"], ["config", "docs"], ["--help"]], ids=" ".join)
def test_a_package_over_ours_is_named_and_nothing_runs(site: Path, words: list[str]) -> None:
    install(site, "config/__init__.py")
    done = mta(site, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{site}/config/__init__.py is not ours: another package called config was installed over it" in done.stderr
    assert "by config" in done.stderr
    assert "into a virtual environment of its own" in done.stderr


def test_so_is_one_that_was_uninstalled_again(site: Path) -> None:
    (site / "policy" / "__init__.py").unlink()
    done = mta(site, "config", "docs")
    assert done.returncode == 2
    assert "the package policy of this service is missing: nothing is in its place" in done.stderr


def test_and_one_that_comes_first_in_the_path(site: Path, tmp_path: Path) -> None:
    (tmp_path / "before" / "bounce").mkdir(parents=True)
    (tmp_path / "before" / "bounce" / "__init__.py").write_text("print('foreign code')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}/before:{site}"}
    command = [sys.executable, "-P", "-m", "mta", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"the package bounce of this service is missing: {tmp_path}/before/bounce/__init__.py" in done.stderr


@pytest.mark.parametrize("words", [["check"], ["serve"]], ids=" ".join)
def test_a_module_over_ours_is_found_by_the_list_of_files(site: Path, words: list[str]) -> None:
    install(site, "config/load.py")
    done = mta(site, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{site}/config/load.py was written over by config" in done.stderr


def test_what_somebody_has_changed_is_told_and_runs(site: Path) -> None:
    (site / "config" / "describe.py").open("a").write("\n")
    done = mta(site, "check")
    assert done.returncode == 0
    assert f"note: changed since it was installed: {site}/config/describe.py" in done.stdout
