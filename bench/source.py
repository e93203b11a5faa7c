"""The sending end of the benchmark: many sessions, each sends one message after another as fast as it is answered.

One process, one epoll loop. Commands are not pipelined (like smtp-source, and the libraries of most applications);
messages are rendered once and differ only in their id field.

Invariants: Rejections are not hidden: every negative reply is counted, and the first ones are kept verbatim.
Limitations: No TLS. A rejected message is not sent again.
"""

from __future__ import annotations

import base64
import select
import socket
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from bench.sink import ID_FIELD

WARM_UP = 10_000_000  # id of the first message of a warm-up
_CHUNK = 4096
_LARGE = 256 * 1024
_PATIENCE = 60.0  # seconds without progress after which the server is considered dead
_LINE = b"The quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\r\n"
_KEPT_REPLIES = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. ``size``: bytes of content; ``per_connection``: messages before a new connection is made;
    ``content``: a message to send in place of a plain one, with lines that end in CRLF."""

    port: int
    count: int
    size: int = 10_240
    domains: int = 1
    sessions: int = 20
    per_connection: int = 100
    address: str = "127.0.0.1"
    first_id: int = 0
    login: tuple[str, str] | None = None
    content: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class Sent:
    """The result. ``accepted``: ids that got a 250; ``seconds``: time of each from MAIL to 250."""

    started: float = 0.0
    ended: float = 0.0
    accepted: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    refused: int = 0
    broken: int = 0
    replies: list[str] = field(default_factory=list)
    cpu: float = 0.0


class _Step(Enum):
    GREETING = auto()
    HELLO = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    DOT = auto()
    RESET = auto()
    QUIT = auto()


@dataclass(slots=True)
class _Session:
    sock: socket.socket
    left: int
    step: _Step = _Step.GREETING
    pending: bytes = b""
    unsent: bytes | memoryview = b""
    id: int = -1
    begun: float = 0.0


def domain(n: int) -> str:
    """Return the n-th destination domain, from 0."""
    return f"d{n:02d}.example"


def render(size: int) -> tuple[bytes, bytes]:
    """Return a message of about ``size`` bytes in two parts; its id goes between them."""
    head = (
        b"From: Bench <sender@bench.example>\r\nTo: Recipient <user@d00.example>\r\n"
        b"Subject: Your order has been shipped\r\n"
        b"Date: Sat, 21 Nov 2026 20:00:00 +0000\r\nMessage-ID: <bench.0@bench.example>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\n" + ID_FIELD
    )
    body = _LINE * (max(size - len(head) - 14, 0) // len(_LINE) + 1)
    body = body[: max(size - len(head) - 14, 0)].rstrip(b"\r\n") + b"\r\n"
    return head, b"\r\n\r\n" + body + b".\r\n"


def recipient(n: int, domains: int) -> str:
    """Return to whom message ``n`` goes: each has a recipient of its own."""
    return f"user{n}@{domain(n % domains)}"


def split(content: bytes) -> tuple[bytes, bytes]:
    """Return a message in two parts, as it is sent; its id goes between them."""
    head, _, body = content.partition(b"\r\n\r\n")
    return head + b"\r\n" + ID_FIELD, b"\r\n\r\n" + body.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Source:
    """Sends one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._head, self._tail = split(load.content) if load.content else render(load.size)
        self._poll = select.epoll()
        self._sessions: dict[int, _Session] = {}
        self._ids: Iterator[int] = iter(range(load.first_id, load.first_id + load.count))
        self._unclaimed = load.count
        self._sent = Sent()

    def run(self) -> Sent:
        """Send all messages. Raises TimeoutError if the server stops answering."""
        before = time.thread_time()
        self._sent.started = time.monotonic()
        for _ in range(min(self._load.sessions, self._load.count)):
            self._connect()
        while self._sessions:
            events = self._poll.poll(_PATIENCE)
            if not events:
                raise TimeoutError(
                    f"the server has not answered for {_PATIENCE:.0f} s; first replies: {self._sent.replies}"
                )
            for fd, event in events:
                self._advance(self._sessions[fd], event)
        self._sent.ended = time.monotonic()
        self._sent.cpu = time.thread_time() - before
        return self._sent

    def _connect(self) -> None:
        """Open a session for the next messages, if any are left."""
        share = min(self._load.per_connection, self._unclaimed)
        if not share:
            return
        self._unclaimed -= share
        sock = socket.create_connection((self._load.address, self._load.port))
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sessions[sock.fileno()] = _Session(sock, share)
        self._poll.register(sock, select.EPOLLIN)

    def _advance(self, session: _Session, event: int) -> None:
        if event & select.EPOLLOUT and session.unsent:
            self._send(session, session.unsent)
        if not event & ~select.EPOLLOUT:
            return
        try:
            chunk = session.sock.recv(_CHUNK)
        except OSError:
            chunk = b""
        if not chunk:
            self._lost(session)
            return
        reply = session.pending + chunk
        start = reply.rfind(b"\n", 0, -1) + 1
        if not reply.endswith(b"\n") or reply[start + 3 : start + 4] == b"-":
            session.pending = reply
            return
        session.pending = b""
        if reply[start : start + 1] in b"23":
            self._next(session)
        else:
            self._refused(session, reply)

    def _next(self, session: _Session) -> None:
        match session.step:
            case _Step.MAIL:
                session.step = _Step.RCPT
                self._send(session, b"RCPT TO:<%s>\r\n" % recipient(session.id, self._load.domains).encode())
            case _Step.RCPT:
                session.step = _Step.DATA
                self._send(session, b"DATA\r\n")
            case _Step.DATA:
                session.step = _Step.DOT
                self._send_message(session)
            case _Step.DOT:
                self._sent.accepted.append(session.id)
                self._sent.seconds.append(time.monotonic() - session.begun)
                self._begin(session)
            case _Step.GREETING:
                session.step = _Step.HELLO
                self._send(session, b"EHLO client.bench.example\r\n")
            case _Step.HELLO if self._load.login:
                session.step = _Step.AUTH
                user, password = self._load.login
                blob = base64.b64encode(f"\0{user}\0{password}".encode())
                self._send(session, b"AUTH PLAIN " + blob + b"\r\n")
            case _Step.HELLO | _Step.AUTH | _Step.RESET:
                self._begin(session)
            case _Step.QUIT:
                self._close(session)

    def _begin(self, session: _Session) -> None:
        """Start the next message of this session, or end the session."""
        if not session.left:
            session.step = _Step.QUIT
            self._send(session, b"QUIT\r\n")
            return
        session.left -= 1
        session.id = next(self._ids)
        session.step = _Step.MAIL
        session.begun = time.monotonic()
        self._send(session, b"MAIL FROM:<sender@bench.example>\r\n")

    def _refused(self, session: _Session, reply: bytes) -> None:
        self._keep(reply.decode(errors="replace").strip())
        if session.step in (_Step.GREETING, _Step.HELLO, _Step.AUTH, _Step.RESET, _Step.QUIT):
            self._lost(session)
            return
        self._sent.refused += 1
        session.step = _Step.RESET
        self._send(session, b"RSET\r\n")

    def _lost(self, session: _Session) -> None:
        """Handle a lost connection: its current message counts as broken, the others go to another session."""
        if session.step is not _Step.QUIT:
            self._keep(f"connection lost after {session.step.name}")
            self._sent.broken += session.step in (_Step.MAIL, _Step.RCPT, _Step.DATA, _Step.DOT)
            self._unclaimed += session.left
            if self._sent.broken > self._load.sessions + self._load.count // 100:
                raise ConnectionError(f"the server keeps breaking connections; first replies: {self._sent.replies}")
        self._close(session)

    def _close(self, session: _Session) -> None:
        del self._sessions[session.sock.fileno()]
        session.sock.close()
        self._connect()

    def _send_message(self, session: _Session) -> None:
        """Send it; a large one is not copied for each session."""
        head = b"%b%d" % (self._head, session.id)
        if len(self._tail) < _LARGE:
            self._send(session, head + self._tail)
            return
        session.sock.setblocking(True)
        session.sock.sendall(head)
        session.sock.setblocking(False)
        self._send(session, memoryview(self._tail))

    def _send(self, session: _Session, data: bytes | memoryview) -> None:
        try:
            sent = session.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(data)  # the end of the connection shows when reading
        waiting = bool(session.unsent)
        session.unsent = data[sent:]
        if bool(session.unsent) != waiting:
            self._poll.modify(session.sock, select.EPOLLIN | (select.EPOLLOUT if session.unsent else 0))

    def _keep(self, reply: str) -> None:
        if len(self._sent.replies) < _KEPT_REPLIES:
            self._sent.replies.append(reply)
