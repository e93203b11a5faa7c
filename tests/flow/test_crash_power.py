"""A power cut under load: what had not reached the disk is gone, and still nothing that was acknowledged is lost.

The service's data lie on a file system of their own (ext4 in a file, with almost no writing back of its own
accord). All processes are frozen, the file system is shut down without flushing its journal, as xfstests does
it, and is mounted anew.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flow.crash import Standing, seeds, stand, trial
from tests.flow.harness import open_directory

pytestmark = pytest.mark.crash

LETTING_GO = 20.0  # seconds
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_WITHOUT_FLUSHING = struct.pack("I", 2)


@dataclass
class Disk:
    """An ext4 file system in a file, mounted."""

    image: Path
    mountpoint: Path

    def make(self) -> None:
        self.mountpoint.mkdir()
        with self.image.open("wb") as file:
            file.truncate(1 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)

    def mount(self) -> None:
        command = ["mount", "-o", "loop,commit=3600", str(self.image), str(self.mountpoint)]
        subprocess.run(command, check=True, capture_output=True)

    def cut(self) -> None:
        """Lose everything that is not on the disk yet; all later access fails."""
        folder = os.open(self.mountpoint, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_FLUSHING)
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Once the last of the killed processes has let go of it."""
        deadline = time.monotonic() + LETTING_GO
        command = ["umount", str(self.mountpoint)]
        while subprocess.run(command, capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.mountpoint} is still in use {LETTING_GO:.0f} s after all were killed")
            time.sleep(0.05)


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("a file system of one's own needs root and mkfs.ext4")
    with open_directory() as directory:
        disk = Disk(directory / "image", directory / "disk")
        disk.make()
        try:
            disk.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop mounts here: {error.stderr.decode().strip()}")
        yield disk
        disk.unmount()


@pytest.fixture(scope="module")
def standing(disk: Disk) -> Iterator[Standing]:
    with open_directory() as directory:  # the configuration is the operator's affair, and not on that disk
        (disk.mountpoint / "data").mkdir()
        (directory / "data").symlink_to(disk.mountpoint / "data")
        standing = stand(directory)
        yield standing
        standing.service.stop()


@pytest.mark.parametrize("seed", seeds())
async def test_power_cut(standing: Standing, disk: Disk, seed: int) -> None:
    async with trial(standing, seed) as this:
        async with this.load():
            await this.moment()
            await asyncio.to_thread(cut_power, standing, disk)
            this.struck()
            await asyncio.to_thread(standing.service.start)
            await this.moment()
        await this.settle()
        await this.judge()


def cut_power(standing: Standing, disk: Disk) -> None:
    frozen = standing.service.freeze()
    disk.cut()
    standing.service.kill(frozen)
    disk.unmount()
    disk.mount()
