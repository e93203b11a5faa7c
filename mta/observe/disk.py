"""Watch the file systems that mail is kept on, so that mail is refused before one of them is full.

What is kept free (the reserve) is for what has been accepted: outcomes, bounces, the database's log.

Limitations: a database on another machine is not seen here; it says by itself that it is full (``StoreFull``). A file
system that does not count inodes (btrfs) never lacks them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from mta.observe.log import Sparingly, get_logger
from mta.observe.metrics import Metrics

log = get_logger()

RESERVE_SHARE = 0.05  # of a file system, but no less and no more than
RESERVE_LEAST, RESERVE_MOST = 64 * 2**20, 512 * 2**20  # octets; the least, on a tiny one: a quarter of it
INODES = 1000  # or a twentieth of those of a small file system
LASTS = 1.0  # seconds for which a reading counts

Statvfs = Callable[[Path], os.statvfs_result]


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One reading. ``reserve``: octets to be kept free."""

    path: Path
    free: int
    reserve: int
    inodes: int
    inode_reserve: int

    @classmethod
    def of(cls, path: Path, found: os.statvfs_result) -> FileSystem:
        size = found.f_blocks * found.f_frsize
        least = min(RESERVE_LEAST, size // 4)
        return cls(
            path,
            free=found.f_bavail * found.f_frsize,
            reserve=int(min(RESERVE_MOST, max(RESERVE_SHARE * size, least))),
            inodes=found.f_favail,
            inode_reserve=min(INODES, found.f_files // 20),
        )

    @property
    def is_short(self) -> bool:
        return self.free < self.reserve or self.inodes < self.inode_reserve

    def shown(self) -> str:
        """Return what is free and what should be, in words."""
        if self.free >= self.reserve and self.inodes < self.inode_reserve:
            return f"{self.path}: {self.inodes} inodes free, less than {self.inode_reserve}"
        return f"{self.path}: {self.free >> 20} MB free, of a reserve of {self.reserve >> 20} MB"


def kept_on(data_dir: Path, *, own_database: bool) -> list[Path]:
    """Return the folders whose file systems must not be full. A part of the database may be on another one."""
    postgres = data_dir / "postgres"
    return [data_dir, postgres, postgres / "pg_wal"] if own_database else [data_dir]


class DiskWatch:
    """Reads the file systems of ``paths`` when asked, at most once in LASTS seconds."""

    def __init__(
        self, paths: Sequence[Path], *, statvfs: Statvfs = os.statvfs, clock: Callable[[], float] = monotonic
    ) -> None:
        self._paths = paths
        self._statvfs, self._clock = statvfs, clock
        self._read_at = -LASTS
        self._tightest: FileSystem | None = None
        self._lines = Sparingly(clock=clock)
        self._was_short = False

    def tightest(self) -> FileSystem | None:
        """Return the file system that is nearest to its reserve, None if none can be read."""
        if self._clock() - self._read_at >= LASTS:
            self._tightest = min(self._read(), key=_room, default=None)
            self._read_at = self._clock()
        return self._tightest

    def short(self) -> FileSystem | None:
        """Return a file system without its reserve; None: mail may be taken."""
        tightest = self.tightest()
        return tightest if tightest is not None and tightest.is_short else None

    def report(self, metrics: Metrics) -> None:
        """Set the metrics, and log that a disk is nearly full, or has room again: one line a minute at most."""
        tightest = self.tightest()
        if tightest is None:
            return
        metrics.disk_free.set(tightest.free)
        metrics.disk_short.set(tightest.is_short)
        if tightest.is_short and self._lines.due():
            log.error("disk nearly full: no mail is accepted", disk=tightest.shown(), free_bytes=tightest.free)
        elif self._was_short and not tightest.is_short:
            log.info("disk has room again", disk=tightest.shown(), free_bytes=tightest.free)
        self._was_short = tightest.is_short

    def _read(self) -> list[FileSystem]:
        found = []
        for path in self._paths:
            try:
                found.append(FileSystem.of(path, self._statvfs(path)))
            except OSError:  # not made yet, or not ours to look at
                continue
        return found


def _room(system: FileSystem) -> float:
    """Return how many times its reserve a file system has free, of octets or inodes."""
    inodes = system.inodes / system.inode_reserve if system.inode_reserve else float("inf")
    return min(system.free / max(1, system.reserve), inodes)
