"""Where large messages stand while they are received and judged: on disk, in files without a name.

Such a file is gone with the process, so that nothing is left behind by a crash: the client has no 250 before the store
has everything. Whatever touches the disk is done by a thread. Messages are written one piece of one message at a time:
a hundred large ones take turns, and what others send gets through between two pieces.

Invariants: no more than ``most`` octets on disk. What is in a file is whole lines, checked, without doubled dots.

Limitations: a file takes a descriptor for as long as its message is on its way in.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from config.schema import Limits
from mta.mail.reply import Reply
from mta.smtp_server.message_syntax import MessageCheck
from mta.smtp_server.replies import NO_MEMORY

PIECE = 256 * 1024  # octets written and read at a time: half a millisecond
THREADS = 2  # one writes, and one reads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Spool:
    """The large messages of one process. ``most``: octets that they may take on disk. ``turn``: whose is to write."""

    def __init__(self, directory: Path, most: int) -> None:
        self.most = most
        self.used = 0
        self._directory = directory
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self.turn = asyncio.Semaphore(1)

    def has_room(self, octets: int) -> bool:
        return self.used + octets <= self.most

    async def open(self, limits: Limits) -> SpooledMessage:
        """Return a place for one message, which must be closed. Raises OSError."""
        return SpooledMessage(self, await self.run(self._open), limits)

    def _open(self) -> FileIO:
        return tempfile.TemporaryFile(dir=self._directory, buffering=0)

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what ``work`` does in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def discard(self, file: FileIO) -> None:
        """Close a file in a thread: to give the space of a large one back has taken half a second."""
        try:
            self._threads.submit(file.close)
        except RuntimeError:  # the threads have ended
            file.close()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False)


class SpooledMessage:
    """One message: written piece by piece, and then the ``LargeBody`` that is read. It must be closed in the end.

    ``header``: its header block, with the empty line. ``fault``: why it is rejected.
    """

    def __init__(self, spool: Spool, file: FileIO, limits: Limits) -> None:
        self._spool, self._file = spool, file
        self._check = MessageCheck(limits)
        self._charged = self._written = self._lines = 0
        self.header = b""
        self.is_ascii = True
        self.fault: Reply | None = None

    # --- written

    async def add(self, lines: bytes, clean: Callable[[bytes], bytes]) -> None:
        """Check and write whole lines as ``clean`` returns them; it is called in a thread. Raises OSError."""
        if not self._spool.has_room(len(lines)):
            self.fault = NO_MEMORY
            return
        self._spool.used += len(lines)
        self._charged += len(lines)
        self.fault = await self._spool.run(self._add, lines, clean)

    def end(self) -> None:
        """Everything has come: complete ``fault``."""
        self.fault = self.fault or self._check.end()

    def _add(self, lines: bytes, clean: Callable[[bytes], bytes]) -> Reply | None:
        """Return why the message is rejected, None if nothing is wrong so far. Raises OSError."""
        lines = clean(lines)
        if fault := self._check.feed(lines, self._lines + 1):
            return fault
        self._lines += lines.count(b"\n")
        if not self._written:
            self.header = lines[: lines.index(b"\r\n\r\n") + 4] if b"\r\n\r\n" in lines else lines
        self.is_ascii = self.is_ascii and lines.isascii()
        for start in range(0, len(lines), PIECE):
            self._write(lines[start : start + PIECE])
        return None

    def _write(self, octets: bytes) -> None:
        rest = memoryview(octets)
        while rest:
            written = self._file.write(rest)
            self._written += written
            rest = rest[written:]

    def close(self) -> None:
        """Give the room back."""
        self._spool.discard(self._file)
        self._spool.used -= self._charged
        self._charged = 0

    # --- read

    @property
    def size(self) -> int:
        return self._written - len(self.header)

    async def pieces(self) -> AsyncIterator[bytes]:
        at = len(self.header)
        while at < self._written:
            piece = await self._spool.run(self._read, PIECE, at)
            at += len(piece)
            yield piece

    async def whole(self) -> bytes:
        return await self._spool.run(self._read, self._written, 0)

    def _read(self, octets: int, at: int) -> bytes:
        """Runs in a thread. Raises OSError."""
        piece = os.pread(self._file.fileno(), octets, at)
        if len(piece) < min(octets, self._written - at):
            raise OSError("a large message could not be read back")
        return piece
