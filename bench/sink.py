"""The receiving end of the benchmark: accepts every message, at once or after a delay, and records its id and time.

One process, one epoll loop, many addresses. It parses only what it must: lines outside DATA, a search for the final dot
inside, and the id field of each message.

Invariants: It is never the bottleneck and does not answer before the final dot; its cost is printed with every result.
Limitations: No TLS, only positive replies, no check of the order of commands: ``mta.testing`` has those.
"""

from __future__ import annotations

import resource
import select
import socket
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

ID_FIELD = b"X-Bench-Id: "
"""The field that carries a message's number, in decimal."""

_END = b"\r\n.\r\n"
_CHUNK = 256 * 1024
_GREETING = b"220 sink.example ESMTP\r\n"
_HELLO = b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 104857600\r\n250 ENHANCEDSTATUSCODES\r\n"
_REPLIES = {
    b"EHLO": _HELLO,
    b"HELO": b"250 sink.example\r\n",
    b"MAIL": b"250 2.1.0 ok\r\n",
    b"RCPT": b"250 2.1.5 ok\r\n",
    b"DATA": b"354 go\r\n",
    b"RSET": b"250 2.0.0 ok\r\n",
    b"NOOP": b"250 2.0.0 ok\r\n",
    b"QUIT": b"221 2.0.0 bye\r\n",
}
_UNKNOWN = b"500 5.5.2 what?\r\n"
_ACCEPTED = b"250 2.0.0 accepted\r\n"


@dataclass(slots=True)
class Arrivals:
    """Received messages: ``ids[i]`` arrived at ``times[i]`` (``time.monotonic``). ``cpu``: seconds of this process."""

    ids: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    octets: int = 0
    connections: int = 0
    cpu: float = 0.0


@dataclass(slots=True)
class _Session:
    sock: socket.socket
    pending: bytes = b""
    in_data: bool = False
    id: int = -1  # of the message that is being received
    dropped: int = 0  # octets of it that are not kept


class _Replies:
    """Sends replies, each ``delay`` seconds after it was due: as a receiver that is far away. In order, as the delay is
    the same for all."""

    def __init__(self) -> None:
        self.delay = 0.0
        self._late: deque[tuple[float, _Session, bytes]] = deque()

    def send(self, session: _Session, reply: bytes) -> bool:
        """Return whether the session is still alive."""
        if self.delay:
            self._late.append((time.monotonic() + self.delay, session, reply))
            return True
        try:
            session.sock.send(reply)
        except OSError:
            return False
        return True

    def send_due(self) -> float | None:
        """Send what is due; return the seconds until the next one, None if there is none."""
        while self._late:
            due, session, reply = self._late[0]
            if (wait := due - time.monotonic()) > 0:
                return wait
            self._late.popleft()
            with suppress(OSError):  # it has gone meanwhile, which its reading tells
                session.sock.send(reply)
        return None


def serve(addresses: Sequence[str], port: int, control: Connection) -> None:
    """Listen on ``addresses`` until ``control`` says "stop".

    ``control``: sends "ready" once; "count" is answered with the number of messages, "take" with the Arrivals
    since the last "take"; a number sets the seconds by which each reply is late.
    """
    poll = select.epoll()
    listeners: dict[int, socket.socket] = {}
    for address in addresses:
        listener = socket.create_server((address, port), backlog=4096)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener
        poll.register(listener, select.EPOLLIN)
    poll.register(control, select.EPOLLIN)
    control.send("ready")
    sessions: dict[int, _Session] = {}
    arrivals, replies = Arrivals(), _Replies()
    started = _cpu()
    while True:
        for fd, _ in poll.poll(replies.send_due()):
            if session := sessions.get(fd):
                if not _read(session, arrivals, replies):
                    del sessions[fd]
                    session.sock.close()
            elif fd in listeners:
                _accept(listeners[fd], poll, sessions, arrivals, replies)
            else:
                match control.recv():
                    case "count":
                        control.send(len(arrivals.ids))
                    case "take":
                        arrivals.cpu = _cpu() - started
                        control.send(arrivals)
                        arrivals, started = Arrivals(), _cpu()
                    case float(delay):
                        replies.delay = delay
                    case _:
                        return


def _accept(
    listener: socket.socket, poll: select.epoll, sessions: dict[int, _Session], arrivals: Arrivals, replies: _Replies
) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = sessions[sock.fileno()] = _Session(sock)
        replies.send(session, _GREETING)
        poll.register(sock, select.EPOLLIN)
        arrivals.connections += 1


def _read(session: _Session, arrivals: Arrivals, replies: _Replies) -> bool:
    """Read and answer what the client sent. Return False when the session has ended."""
    try:
        chunk = session.sock.recv(_CHUNK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if not chunk:
        return False
    answers: list[bytes] = []
    alive = _answer(session, session.pending + chunk, answers, arrivals)
    return (not answers or replies.send(session, b"".join(answers))) and (alive or replies.delay > 0)


def _answer(session: _Session, buffer: bytes, replies: list[bytes], arrivals: Arrivals) -> bool:
    start = 0
    while True:
        if session.in_data:
            end = buffer.find(_END, start)
            if session.id < 0:
                session.id = _id(buffer, start, end)
            if end < 0:
                if session.id >= 0 and (kept := max(start, len(buffer) - len(_END) + 1)) > start:
                    session.dropped += kept - start
                    start = kept
                break
            _note(session, end - start, arrivals)
            replies.append(_ACCEPTED)
            session.in_data = False
            start = end + len(_END)
        end = buffer.find(b"\n", start)
        if end < 0:
            break
        verb = buffer[start : start + 4].upper()
        start = end + 1
        replies.append(_REPLIES.get(verb, _UNKNOWN))
        if verb == b"DATA":
            session.in_data = True
            start -= 2  # an empty message is CRLF.CRLF counted from the command's own CRLF
        elif verb == b"QUIT":
            return False
    session.pending = buffer[start:] if start else buffer
    return True


def _id(buffer: bytes, start: int, end: int) -> int:
    """Return the number of a message, -1 if it has none, or has not come yet."""
    at = buffer.find(ID_FIELD, start, end if end >= 0 else len(buffer))
    stop = buffer.find(b"\r", at)
    return int(buffer[at + len(ID_FIELD) : stop]) if at >= 0 and stop >= 0 else -1


def _note(session: _Session, octets: int, arrivals: Arrivals) -> None:
    arrivals.ids.append(session.id)
    arrivals.times.append(time.monotonic())
    arrivals.octets += session.dropped + octets
    session.id, session.dropped = -1, 0


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
