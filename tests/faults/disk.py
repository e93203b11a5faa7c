"""A disk of one's own: an ext4 file system in a file, whose power can be cut and which can be filled.

The cut is the one that xfstests makes: the file system is shut down without flushing its journal, so that everything
that was not synced is gone, and is mounted anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.trial import Standing, Trial, stand
from tests.flow.harness import open_directory

LETTING_GO = 20.0  # seconds
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_WITHOUT_FLUSHING = struct.pack("I", 2)


class NoDisk(Exception):
    """Why there can be none here."""


@dataclass
class Disk:
    image: Path
    mountpoint: Path

    def make(self) -> None:
        """Raises NoDisk."""
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            raise NoDisk("a file system of one's own needs root and mkfs.ext4")
        self.mountpoint.mkdir()
        with self.image.open("wb") as file:
            file.truncate(1 << 30)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)
        try:
            self.mount()
        except subprocess.CalledProcessError as error:
            raise NoDisk(f"no loop mounts here: {error.stderr.decode().strip()}") from None

    def mount(self) -> None:
        """Almost nothing is written back of its own accord."""
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

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no octet free for as long as the block lasts."""
        ballast = self.mountpoint / "ballast"
        try:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 20))
            yield
        finally:
            ballast.unlink()

    async def power_cut(self, this: Trial) -> None:
        """Freeze all processes, cut, mount what is left, and start."""
        service = this.standing.service

        def cut() -> None:
            frozen = service.freeze()
            self.cut()
            service.kill(frozen)
            self.unmount()
            self.mount()

        await asyncio.to_thread(cut)
        this.struck()
        await asyncio.to_thread(service.start)

    async def full_disk(self, this: Trial) -> None:
        """No octet is free for a while; the service comes back by itself."""
        with self.full():
            this.struck()
            await this.moment()


@contextlib.contextmanager
def standing_on_disk() -> Iterator[tuple[Standing, Disk]]:
    """A service whose data are on a disk of their own; the configuration is the operator's affair, and is not.

    Raises NoDisk.
    """
    with open_directory() as directory, open_directory() as service_directory:
        disk = Disk(directory / "image", directory / "disk")
        disk.make()
        try:
            (disk.mountpoint / "data").mkdir()
            (service_directory / "data").symlink_to(disk.mountpoint / "data")
            standing = stand(service_directory)
            try:
                yield standing, disk
            finally:
                standing.service.stop()
        finally:
            disk.unmount()
