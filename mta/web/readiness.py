"""Whether mail can be taken now: the checks behind ``/readyz``.

| check | ok if |
|---|---|
| database | something could be committed within the last seconds |
| clock | this machine's clock and the database's agree |
| disk | every file system that mail is kept on has its reserve |
| supervisor, worker-N | it reports |
| claiming | every worker claims due mail |
| descriptors | every worker has file descriptors left |
| tasks | the background tasks that mail depends on work |

Invariants: Nothing about a message, an account or a setting is shown. However often it is asked, the database is
written to once in WRITE_LASTS seconds, and by one caller at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from mta.observe.disk import DiskWatch
from mta.store.store import StoreFull, StoreUnavailable

FRESH = 10.0  # seconds after which a report counts as missing
WRITE_LASTS = 5.0  # seconds for which a committed write counts; a failed one is tried again by the next who asks
CLAIMED_WITHIN = 60.0  # seconds
CLOCKS_AGREE = 30.0  # seconds
TASK_FAILS = 10.0  # seconds after which a background task that fails counts
DESCRIPTORS_LEFT = 32


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; ``detail`` is for people."""

    name: str
    ok: bool
    detail: str


class WritableStore(Protocol):
    """What is needed of the store. ``check_write`` returns the database's time; it raises StoreUnavailable."""

    async def check_write(self) -> datetime: ...


class ServiceReadiness:
    """``disk``: the file systems that mail is kept on, if they are this machine's."""

    def __init__(self, store: WritableStore, run_dir: Path, disk: DiskWatch | None = None) -> None:
        self._store, self._disk = store, disk
        self._state = run_dir / "state.json"
        self._wrote_at: float | None = None
        self._ahead = 0.0  # seconds that our clock is ahead of the database's
        self._writing = asyncio.Lock()

    async def checks(self) -> list[Check]:
        """Return every check, those that fail included."""
        found = [await self._check_database(), _check_clock(self._ahead)]
        if self._disk is not None:
            found.append(_check_disk(self._disk))
        return [*found, *check_processes(self._state, time.time())]

    async def _check_database(self) -> Check:
        async with self._writing:
            try:
                if self._wrote_at is None or time.monotonic() - self._wrote_at > WRITE_LASTS:
                    self._wrote_at = None
                    there = await self._store.check_write()
                    self._ahead, self._wrote_at = time.time() - there.timestamp(), time.monotonic()
            except StoreFull:
                return Check("database", False, "its disk is full; clients get 452 until it has room")
            except StoreUnavailable:
                return Check("database", False, "takes no writes; clients get 451 until it does")
        return Check("database", True, "takes writes")


def _check_clock(ahead: float) -> Check:
    if abs(ahead) <= CLOCKS_AGREE:
        return Check("clock", True, "agrees with the database's")
    how = "ahead of" if ahead > 0 else "behind"
    return Check("clock", False, f"is {abs(ahead):.0f} s {how} the database's; nothing expires until they agree")


def _check_disk(disk: DiskWatch) -> Check:
    tightest = disk.tightest()
    if tightest is None:
        return Check("disk", True, "cannot be measured")
    more = "; clients get 452 until it has" if tightest.is_short else ""
    return Check("disk", not tightest.is_short, tightest.shown() + more)


def check_processes(state_file: Path, now: float) -> list[Check]:
    """Check supervisor and workers by the state that the supervisor last wrote. ``now``: seconds since 1970."""
    try:
        state = json.loads(state_file.read_bytes())
        written, children = float(state["at"]), list(state["children"])
        if now - written > FRESH:
            return [Check("supervisor", False, f"has not written its state for {now - written:.0f} s")]
        workers = [child for child in children if str(child["name"]).startswith("worker-")]
        return [
            *(_check_report(child, now) for child in workers),
            _check("claiming", filter(None, map(_claim_trouble, workers))),
            _check("descriptors", filter(None, map(_descriptor_trouble, workers))),
            _check("tasks", (trouble for process in (state, *children) for trouble in _task_trouble(process))),
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return [Check("supervisor", False, "has not written its state yet")]


def _check(name: str, trouble: Iterable[str]) -> Check:
    text = "; ".join(trouble)
    return Check(name, not text, text or "ok")


def _check_report(child: Mapping[str, Any], now: float) -> Check:
    seen_at = float(child["seen_at"])
    if seen_at == 0.0:
        return Check(str(child["name"]), False, "is starting")
    age = now - seen_at
    return Check(str(child["name"]), age <= FRESH, f"reported {max(0.0, age):.0f} s ago")


def _claim_trouble(worker: Mapping[str, Any]) -> str | None:
    age = float(worker.get("claim_age", 0.0))
    return f"{worker['name']} has not claimed due mail for {age:.0f} s" if age > CLAIMED_WITHIN else None


def _descriptor_trouble(worker: Mapping[str, Any]) -> str | None:
    used, most = int(worker.get("descriptors", 0)), int(worker.get("descriptors_most", 0))
    short = most and most - used < DESCRIPTORS_LEFT
    return f"{worker['name']} has {used} of {most} file descriptors open" if short else None


def _task_trouble(process: Mapping[str, Any]) -> list[str]:
    """Return which tasks have been failing for a while; their reasons are in the log."""
    return [
        f"{process.get('name', 'supervisor')}: {task['name']} has been failing for {task['seconds']:.0f} s"
        for task in process.get("failing_tasks", ())
        if task["matters"] and task["seconds"] > TASK_FAILS
    ]
