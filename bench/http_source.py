"""The sending end of the web benchmark: many connections, each makes one request after another, without a pause.

One process, one epoll loop; requests are rendered before the clock starts, and of an answer only its status and length
are read.

Invariants: every answer is counted by its status, and the first ones that are no success are kept verbatim.
Limitations: HTTP/1.1 without TLS and without chunked answers.
"""

from __future__ import annotations

import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

_CHUNK = 64 * 1024
_PATIENCE = 60.0  # seconds without progress after which the server is considered dead
_KEPT = 5  # answers
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """What to send. ``per_connection``: requests before a new connection is made."""

    port: int
    requests: Sequence[bytes]
    connections: int = 20
    per_connection: int = 1_000_000
    address: str = "127.0.0.1"


@dataclass(slots=True)
class Answers:
    """The result. ``seconds``: of each request that was answered; ``cpu``: of this process."""

    started: float = 0.0
    ended: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: array[float] = field(default_factory=lambda: array("d"))
    lost: int = 0
    kept: list[bytes] = field(default_factory=list)
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.seconds) / (self.ended - self.started)

    @property
    def succeeded(self) -> int:
        return sum(count for status, count in self.statuses.items() if status < 300)

    def percentile(self, share: float) -> float:
        """Return the milliseconds within which this share of the requests was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    left: int
    begun: float = 0.0
    pending: bytes = b""
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))


def post(path: str, body: bytes, content_type: str, *fields: str) -> bytes:
    """Return a request. ``fields``: further lines of its head."""
    head = [
        f"POST {path} HTTP/1.1",
        "Host: bench.example",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *fields,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class HttpSource:
    """Makes the requests of one load."""

    def __init__(self, load: HttpLoad) -> None:
        self._load = load
        self._waiting = iter(load.requests)
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._answers = Answers()

    def run(self) -> Answers:
        """Make all requests. Raises TimeoutError if the server stops answering."""
        before, answers = time.thread_time(), self._answers
        answers.started = time.monotonic()
        for _ in range(self._load.connections):
            self._open()
        while self._connections:
            events = self._poll.poll(_PATIENCE)
            if not events:
                raise TimeoutError(f"the server has not answered for {_PATIENCE:.0f} s; first answers: {answers.kept}")
            for descriptor, event in events:
                self._advance(self._connections[descriptor], event)
        answers.ended = time.monotonic()
        answers.cpu = time.thread_time() - before
        return answers

    def _open(self) -> None:
        request = next(self._waiting, None)
        if request is None:
            return
        sock = socket.create_connection((self._load.address, self._load.port))
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connections[sock.fileno()] = _Connection(sock, self._load.per_connection)
        self._poll.register(sock, select.EPOLLIN)
        self._begin(connection, request)

    def _begin(self, connection: _Connection, request: bytes) -> None:
        connection.left -= 1
        connection.begun = time.monotonic()
        self._send(connection, memoryview(request))

    def _advance(self, connection: _Connection, event: int) -> None:
        if event & select.EPOLLOUT and connection.unsent:
            self._send(connection, connection.unsent)
        if not event & ~select.EPOLLOUT:
            return
        try:
            chunk = connection.sock.recv(_CHUNK)
        except OSError:
            chunk = b""
        if not chunk:
            self._answers.lost += 1
            self._renew(connection)
            return
        connection.pending += chunk
        if _is_whole(connection.pending):
            self._answered(connection)

    def _answered(self, connection: _Connection) -> None:
        answers, answer = self._answers, connection.pending
        answers.seconds.append(time.monotonic() - connection.begun)
        status = int(answer[9:12])
        answers.statuses[status] += 1
        if status >= 300 and len(answers.kept) < _KEPT:
            answers.kept.append(answer[:1000])
        connection.pending = b""
        closes = b"\r\nconnection: close" in answer[: answer.find(b"\r\n\r\n")].lower()
        if connection.left <= 0 or closes:
            self._renew(connection)
        elif request := next(self._waiting, None):
            self._begin(connection, request)
        else:
            self._close(connection)

    def _renew(self, connection: _Connection) -> None:
        self._close(connection)
        self._open()

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection.sock.fileno()]
        connection.sock.close()

    def _send(self, connection: _Connection, data: memoryview) -> None:
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)  # the end of the connection shows when reading
        waited = bool(connection.unsent)
        connection.unsent = data[sent:]
        if bool(connection.unsent) != waited:
            wanted = select.EPOLLIN | (select.EPOLLOUT if connection.unsent else 0)
            self._poll.modify(connection.sock, wanted)


def _is_whole(answer: bytes) -> bool:
    """Whether it has come to its end. Raises ValueError if it does not say where that is."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        if head[9:12] in (b"204", b"304"):
            return True
        raise ValueError(f"an answer without length: {answer[:200]!r}")
    length = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
    return len(answer) >= end + 4 + length
