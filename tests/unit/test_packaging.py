"""What is installed is what is here: no file of the packages is left out of the wheel."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bounce", "config", "mta", "policy")


def test_every_file_of_the_packages_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = ["*.py", *declared["*"]]
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    kept = [path for path in files if "__pycache__" not in path.parts]
    assert len(kept) > 500
    left_out = [str(path.relative_to(ROOT)) for path in kept if not any(fnmatch(path.name, each) for each in patterns)]
    assert left_out == []
