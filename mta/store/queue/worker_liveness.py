"""Whether a process on this machine is alive, so that its rows need not wait for its lease to expire.

A process is identified by boot, process namespace, process id and start time: ids are reused,
and the same id in another container is another process.

Limitations: Linux only; elsewhere no process is known to be dead before its lease expires.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """``pid_scope``: where ``pid`` is unique; empty if unknown. ``start_ticks``: start, in clock ticks since boot."""

    pid_scope: str
    pid: int
    start_ticks: int


def this_process() -> Process:
    pid = os.getpid()
    return Process(_pid_scope(), pid, _started(pid) or 0)


def is_dead(process: Process) -> bool:
    """True only if it is certain: the same place, and no such process there (or a zombie, or a later one)."""
    return (
        bool(process.pid_scope) and process.pid_scope == _pid_scope() and _started(process.pid) != process.start_ticks
    )


def _pid_scope() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> int | None:
    """None: there is no such process any more."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])  # proc(5): field 22 of the line, starttime
