"""Run programs under an unprivileged account, as PostgreSQL requires when we are root.

Invariants: never creates an account, or changes the mode of a folder it did not make.

Limitations: whether an account can reach a folder is tested once; later mode changes surface only as PostgreSQL's own
error.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

Account = pwd.struct_passwd

# Batches of messages are large pieces of memory: asking the kernel anew for each costs more than keeping some.
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
