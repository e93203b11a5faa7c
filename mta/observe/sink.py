"""Where the event log's lines go: a file, or standard output, written by a thread of its own.

``write`` only appends to a list. The thread takes the list every FLUSH seconds and writes it in pieces of whole lines,
each small enough that lines of several processes never mix (PIPE_BUF octets to a pipe; a file is opened to append).

It must never stop mail: with a full disk, a reader that is gone or one that does not read, lines are dropped and
counted (``imprimatur_events_dropped_total``), and writing is tried again with the next ones.

*Limits.* What was written in the last FLUSH seconds before ``kill -9`` is lost.
"""

from __future__ import annotations

import os
import select
import stat
import threading
from collections import deque
from pathlib import Path
from typing import Literal, Protocol

from mta.observe.log import get_logger
from mta.observe.metrics import Metrics

log = get_logger()

STDOUT = 1
FILE_PIECE = 64 * 1024  # octets
FLUSH = 0.05  # seconds
MAX_WAITING = 32 * 1024 * 1024  # octets kept for a reader that is slow
CLOSING = 2.0  # seconds that the last lines may take


class Sink(Protocol):
    """Takes encoded lines, without their line end."""

    def write(self, line: bytes) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class NoSink:
    """For those who keep no event log."""

    def write(self, line: bytes) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class WriterSink:
    """The thread that writes, and what waits for it."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """``path`` None: standard output. A file that cannot be opened raises OSError, here only."""
        self._path = path
        self._metrics = metrics
        self._fd = _open(path)
        self._lines: deque[bytes] = deque()
        self._octets_in = 0  # counted by the callers' thread
        self._octets_out = 0  # counted by the writing thread
        self._torn = False  # the last piece was written in part
        self._failing = False
        self._reopen = False
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        if self._octets_in - self._octets_out > MAX_WAITING:
            self._metrics.events_dropped.inc()
            return
        self._octets_in += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        pause = threading.Event()
        while not self._closing:
            self._wake.wait()
            if not self._closing:
                pause.wait(FLUSH)  # let more lines come
            self._wake.clear()  # before looking: a line that comes now wakes us again
            if self._reopen:
                self._reopen = False
                self._renew()
            while self._lines:
                self._write_piece(self._next_piece())

    def _next_piece(self) -> list[bytes]:
        """Whole lines that go out in one write."""
        limit = FILE_PIECE if stat.S_ISREG(os.fstat(self._fd).st_mode) else select.PIPE_BUF
        piece, size = [self._lines.popleft()], 0
        size = len(piece[0]) + 1
        while self._lines and size + len(self._lines[0]) + 1 <= limit:
            piece.append(self._lines.popleft())
            size += len(piece[-1]) + 1
        return piece

    def _write_piece(self, piece: list[bytes]) -> None:
        octets = b"\n".join(piece) + b"\n"
        if self._torn:
            octets = b"\n" + octets
        try:
            _write_whole(self._fd, octets)
            self._torn = self._failing = False
        except OSError as error:
            self._torn = True
            self._metrics.events_dropped.inc(len(piece))
            if not self._failing:
                self._failing = True
                log.error("the event log cannot be written; lines are dropped", where=self._name, reason=str(error))
        self._octets_out += sum(map(len, piece))

    def _renew(self) -> None:
        if self._path is None:
            return
        try:
            fresh = _open(self._path)
        except OSError as error:
            log.error("the event log cannot be opened anew; the old file stays", where=self._name, reason=str(error))
            return
        os.close(self._fd)
        self._fd, self._torn = fresh, False

    @property
    def _name(self) -> str:
        return str(self._path or "standard output")


def open_sink(destination: Path | Literal["stdout", "none"], metrics: Metrics) -> Sink:
    """The sink that ``observe.events`` asks for. Raises OSError if the file cannot be opened."""
    if destination == "none":
        return NoSink()
    return WriterSink(None if isinstance(destination, str) else destination, metrics)


def _open(path: Path | None) -> int:
    if path is None:
        return STDOUT
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _write_whole(fd: int, octets: bytes) -> None:
    """Waits for a slow reader. Raises OSError."""
    view = memoryview(octets)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
            select.select([], [fd], [], 1.0)
