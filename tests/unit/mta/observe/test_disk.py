"""When a disk counts as nearly full, and what is said about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mta.observe.disk import RESERVE_LEAST, RESERVE_MOST, DiskWatch, FileSystem, kept_on
from mta.observe.metrics import Metrics

PLACE = Path("/var/lib/imprimatur")
BLOCK = 4096
GB = 10**9


def a_disk(*, size: int, free: int, inodes: int = 10**6, inodes_free: int = 10**6) -> os.statvfs_result:
    blocks = (size // BLOCK, free // BLOCK, free // BLOCK)
    return os.statvfs_result((BLOCK, BLOCK, *blocks, inodes, inodes_free, inodes_free, 0, 255))


class Disk:
    """A disk that fills up; ``reads`` counts the looks at it."""

    def __init__(self, size: int = 100 * GB, free: int = 50 * GB) -> None:
        self.size, self.free, self.inodes, self.inodes_free = size, free, 10**6, 10**6
        self.now, self.reads = 0.0, 0
        self.error: OSError | None = None

    def statvfs(self, _: Path) -> os.statvfs_result:
        self.reads += 1
        if self.error:
            raise self.error
        return a_disk(size=self.size, free=self.free, inodes=self.inodes, inodes_free=self.inodes_free)

    def watch(self) -> DiskWatch:
        return DiskWatch([PLACE], statvfs=self.statvfs, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("size", "reserve"),
    [(1000 * GB, RESERVE_MOST), (4 * GB, 0.05 * 4 * GB), (GB, RESERVE_LEAST), (100 * 2**20, 25 * 2**20)],
)
def test_the_reserve(size: int, reserve: float) -> None:
    system = FileSystem.of(PLACE, a_disk(size=size, free=size))
    assert system.reserve == pytest.approx(reserve, abs=BLOCK)
    assert not system.is_short


@pytest.mark.parametrize("size", [30 * 2**20, 260 * 2**20, 10 * GB, 10_000 * GB])
def test_full_and_empty(size: int) -> None:
    assert FileSystem.of(PLACE, a_disk(size=size, free=0)).is_short
    assert not FileSystem.of(PLACE, a_disk(size=size, free=size)).is_short


def test_inodes_can_be_used_up_too() -> None:
    system = FileSystem.of(PLACE, a_disk(size=GB, free=GB, inodes_free=10))
    assert system.is_short
    assert system.shown() == f"{PLACE}: 10 inodes free, less than 1000"


def test_a_file_system_that_counts_no_inodes_has_enough() -> None:
    assert not FileSystem.of(PLACE, a_disk(size=GB, free=GB, inodes=0, inodes_free=0)).is_short


def test_it_is_short_until_there_is_room_and_looked_at_once_a_second() -> None:
    disk = Disk()
    watch = disk.watch()
    assert watch.short() is None
    disk.free = 0
    assert watch.short() is None
    assert disk.reads == 1
    disk.now = 1.0
    short = watch.short()
    assert short is not None
    assert short.shown() == f"{PLACE}: 0 MB free, of a reserve of 512 MB"
    disk.now, disk.free = 2.0, 50 * GB
    assert watch.short() is None


def test_what_cannot_be_read_keeps_no_mail_out() -> None:
    disk = Disk(free=0)
    disk.error = PermissionError()
    assert disk.watch().short() is None


def test_one_line_a_minute_names_the_disk_and_what_is_free() -> None:
    disk, metrics = Disk(free=1_000_000), Metrics()
    watch = disk.watch()
    with capture_logs() as lines:
        for second in range(61):
            disk.now = float(second)
            watch.report(metrics)
    assert [line["log_level"] for line in lines] == ["error", "error"]
    assert lines[0]["disk"] == f"{PLACE}: 0 MB free, of a reserve of 512 MB"
    assert lines[0]["free_bytes"] == 1_000_000 // BLOCK * BLOCK
    assert (metrics.disk_short.value, metrics.disk_free.value) == (1, lines[0]["free_bytes"])
    disk.free, disk.now = 50 * GB, disk.now + 1
    with capture_logs() as lines:
        watch.report(metrics)
        watch.report(metrics)
    assert [line["event"] for line in lines] == ["disk has room again"]
    assert metrics.disk_short.value == 0


def test_where_mail_is_kept() -> None:
    assert kept_on(PLACE, own_database=False) == [PLACE]
    assert kept_on(PLACE, own_database=True) == [PLACE, PLACE / "postgres", PLACE / "postgres" / "pg_wal"]


def test_the_real_disk_can_be_read(tmp_path: Path) -> None:
    assert DiskWatch([tmp_path, tmp_path / "missing"]).tightest() is not None
