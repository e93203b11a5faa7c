"""Where event log lines are written: a file or standard output, by a thread.

``write`` only appends to a list. Every FLUSH seconds the thread writes the list in pieces of whole lines, each small
enough that lines of several processes never mix (PIPE_BUF bytes to a pipe; a file is opened for appending).

Invariants: Mail never waits for the log. If the disk is full or the consumer is gone or stalls, lines are dropped and
counted (``imprimatur_events_dropped_total``), and the next lines are tried again.
Limitations: The lines of the last FLUSH seconds before ``kill -9`` are lost.
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
FILE_PIECE = 64 * 1024  # bytes
FLUSH = 0.2  # seconds: each time the thread takes the interpreter from the loop, which then waits for it
MAX_WAITING = 32 * 1024 * 1024  # bytes kept for a slow consumer
CLOSING = 2.0  # seconds allowed for the last lines


class Sink(Protocol):
    """Takes encoded lines, without their line end. ``patience``: seconds to wait until all are written."""

    def write(self, line: bytes) -> None: ...
    def reopen(self) -> None: ...
    def close(self, patience: float = CLOSING) -> None: ...


class NoSink:
    """Discards all lines."""

    def write(self, line: bytes) -> None:
        pass

    def reopen(self) -> None:
        pass

    def close(self, patience: float = CLOSING) -> None:
        pass


class WriterSink:
    """Writes lines in a thread."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """``path`` None: standard output. Raises OSError if the file cannot be opened."""
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
        self._counting = threading.Lock()  # both threads drop lines
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        if self._octets_in - self._octets_out > MAX_WAITING:
            self._count_dropped(1)
            return
        self._octets_in += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def reopen(self) -> None:
        self._reopen = True
        self._wake.set()

    def close(self, patience: float = CLOSING) -> None:
        self._closing = True
        self._wake.set()
        self._thread.join(patience)

    def _run(self) -> None:
        pause = threading.Event()
        while not self._closing:
            self._wake.wait()
            if not self._closing:
                pause.wait(FLUSH)  # collect more lines
            self._wake.clear()  # before reading: a line added from now on sets it again
            if self._reopen:
                self._reopen = False
                self._open_again()
            self._write_waiting()
        self._write_waiting()  # what came between the last look and the end
        if self._path is not None:
            os.close(self._fd)

    def _write_waiting(self) -> None:
        while self._lines:
            self._write_piece(self._next_piece())

    def _next_piece(self) -> list[bytes]:
        """Return whole lines for one write."""
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
            self._count_dropped(len(piece))
            if not self._failing:
                self._failing = True
                log.error("event log write failed, dropping lines", path=self._name, reason=str(error))
        self._octets_out += sum(map(len, piece))

    def _count_dropped(self, lines: int) -> None:
        with self._counting:
            self._metrics.events_dropped.inc(lines)

    def _open_again(self) -> None:
        if self._path is None:
            return
        try:
            fresh = _open(self._path)
        except OSError as error:
            log.error("event log reopen failed, keeping the old file", path=self._name, reason=str(error))
            return
        os.close(self._fd)
        self._fd, self._torn = fresh, False

    @property
    def _name(self) -> str:
        return str(self._path or "standard output")


def open_sink(destination: Path | Literal["stdout", "none"], metrics: Metrics) -> Sink:
    """Return the sink for the setting ``observe.events``. Raises OSError if the file cannot be opened."""
    if destination == "none":
        return NoSink()
    return WriterSink(None if isinstance(destination, str) else destination, metrics)


def _open(path: Path | None) -> int:
    if path is None:
        return STDOUT
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


def _write_whole(fd: int, octets: bytes) -> None:
    """Write all of it, waiting for a slow consumer. Raises OSError."""
    view = memoryview(octets)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # another user of the pipe made it non-blocking
            select.select([], [fd], [], 1.0)
