"""Where the programs of other MTAs are, and how to start one without touching the system.

``make peers`` unpacks Debian packages under ``.peers/root``; those are used first, then installed ones.

Invariants: No system service is started, stopped or configured: each instance has its own directories, ports and, if
needed, its own view of a file under /etc (a private mount that ends with the process).
Limitations: Debian's layout. Private files need root.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

UNPACKED = Path(__file__).resolve().parent.parent / ".peers" / "root"
_FOLDERS = (
    "usr/lib/chromium",
    "usr/sbin",
    "usr/bin",
    "usr/lib/postfix/sbin",
    "usr/libexec/postfix",
    "usr/libexec/opensmtpd",
)
_MACHINE = f"usr/lib/{os.uname().machine}-linux-gnu"
_LIBRARIES = ("usr/lib", "usr/lib/postfix", "usr/lib/rspamd", _MACHINE, f"{_MACHINE}/pulseaudio")


def find(name: str) -> Path | None:
    """Return the program ``name``, unpacked or installed; None if there is none."""
    for root in (UNPACKED, Path("/")):
        for folder in _FOLDERS:
            if os.access(path := root / folder / name, os.X_OK):
                return path
    return None


def missing(*names: str) -> str | None:
    """Return why a private instance of these programs cannot run here; None if it can."""
    if reason := absent(*names):
        return reason
    if os.geteuid() != 0:
        return "a private instance changes users and needs root"
    return None


def absent(*names: str) -> str | None:
    """Return which of these programs are missing, as text; None if none is."""
    if unknown := [name for name in names if find(name) is None]:
        return f"{', '.join(unknown)}: not installed (make peers unpacks them)"
    return None


def environment() -> dict[str, str]:
    """Return the environment in which unpacked programs find their libraries."""
    folders = [str(UNPACKED / folder) for folder in _LIBRARIES if (UNPACKED / folder).is_dir()]
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    return {**inherited, "LD_LIBRARY_PATH": ":".join(folders)}


def with_files(files: Mapping[str, Path], command: Sequence[str]) -> list[str]:
    """Wrap ``command`` so that it alone sees ``files`` in place of system files. Needs root."""
    if not files:
        return list(command)
    unshare = shutil.which("unshare") or "unshare"
    binds = " && ".join(f"mount --bind {shlex.quote(str(ours))} {shlex.quote(name)}" for name, ours in files.items())
    return [unshare, "--mount", "--", "sh", "-c", f'{binds} && exec "$@"', "sh", *command]
