"""Are the packages that run those that were installed?

Other distributions have packages called ``config`` or ``policy``, and pip writes their files over ours without a word.

Invariants: nothing of a foreign package is run in order to find it.
"""

from __future__ import annotations

import hashlib
import sys
from base64 import urlsafe_b64encode
from importlib.metadata import (
    PackageNotFoundError,
    PackagePath,
    distribution,
    distributions,
    packages_distributions,
)
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import mta

DISTRIBUTION = "imprimatur-mta"
PACKAGES = ("mta", "config", "policy", "bounce")
MARK = f'__distribution__ = "{DISTRIBUTION}"'  # in the __init__.py of each

CURE = f"Install {DISTRIBUTION} again, into a virtual environment of its own."


def foreign_packages() -> list[str]:
    """Return what lies over or in place of our packages, a sentence each. Nothing of it is run."""
    home = Path(mta.__file__).resolve().parent.parent
    found = []
    for name in PACKAGES:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        place = Path(spec.origin) if spec and spec.origin else None
        if place is None or place.resolve().parent.parent != home:
            found.append(f"the package {name} of this service is missing: {place or 'nothing'} is in its place")
        elif not _is_marked(place):
            found.append(f"{place} is not ours: another package called {name} was installed over it{_by(name)}")
    return found


def refuse(foreign: list[str]) -> NoReturn:
    """End the command: what runs may be a mixture of two packages, so that nothing of it can be trusted."""
    print(*foreign, "Nothing was run.", CURE, sep="\n", file=sys.stderr)
    sys.exit(2)


def changed_files() -> tuple[list[str], list[str]]:
    """Return the files of ours that another distribution has written over, and those that were changed since they were
    installed. Both are empty for an editable installation, which has no list of its files."""
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return [], []
    changed = [
        file
        for file in installed.files or ()
        if file.hash and file.parts[0] in PACKAGES and file.suffix == ".py" and not _is_as_installed(file)
    ]
    others = _claimed_by_others()
    foreign = [f"{file.locate()} was written over{_by(file.parts[0])}" for file in changed if str(file) in others]
    return foreign, [str(file.locate()) for file in changed if str(file) not in others]


def _is_marked(place: Path) -> bool:
    try:
        return MARK in place.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _is_as_installed(file: PackagePath) -> bool:
    assert file.hash
    try:
        digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
    except (OSError, ValueError):
        return False
    return urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def _claimed_by_others() -> set[str]:
    """Return the files in our packages that other distributions count as theirs."""
    return {
        str(file)
        for other in distributions()
        if other.metadata["Name"] != DISTRIBUTION
        for file in other.files or ()
        if file.parts[0] in PACKAGES
    }


def _by(package: str) -> str:
    """Return the rest of a sentence that names the distributions with a package of this name besides ours."""
    names = sorted(set(packages_distributions().get(package, ())) - {DISTRIBUTION})
    return f" by {', '.join(names)}" if names else ""
