"""The receiving end of the benchmark: accepts every message at once and records its id and time.

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
from collections.abc import Sequence
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


def serve(addresses: Sequence[str], port: int, control: Connection) -> None:
    """Listen on ``addresses`` until ``control`` says "stop".

    ``control``: sends "ready" once; "count" is answered with the number of messages, "take" with the Arrivals
    since the last "take".
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
    arrivals = Arrivals()
    started = _cpu()
    while True:
        for fd, _ in poll.poll():
            if session := sessions.get(fd):
                if not _read(session, arrivals):
                    del sessions[fd]
                    session.sock.close()
            elif fd in listeners:
                _accept(listeners[fd], poll, sessions, arrivals)
            else:
                match control.recv():
                    case "count":
                        control.send(len(arrivals.ids))
                    case "take":
                        arrivals.cpu = _cpu() - started
                        control.send(arrivals)
                        arrivals, started = Arrivals(), _cpu()
                    case _:
                        return


def _accept(listener: socket.socket, poll: select.epoll, sessions: dict[int, _Session], arrivals: Arrivals) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.send(_GREETING)
        sessions[sock.fileno()] = _Session(sock)
        poll.register(sock, select.EPOLLIN)
        arrivals.connections += 1


def _read(session: _Session, arrivals: Arrivals) -> bool:
    """Read and answer what the client sent. Return False when the session has ended."""
    try:
        chunk = session.sock.recv(_CHUNK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if not chunk:
        return False
    replies: list[bytes] = []
    alive = _answer(session, session.pending + chunk, replies, arrivals)
    if replies:
        try:
            session.sock.send(b"".join(replies))
        except OSError:
            return False
    return alive


def _answer(session: _Session, buffer: bytes, replies: list[bytes], arrivals: Arrivals) -> bool:
    start = 0
    while True:
        if session.in_data:
            end = buffer.find(_END, start)
            if end < 0:
                break
            _note(buffer, start, end, arrivals)
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


def _note(buffer: bytes, start: int, end: int, arrivals: Arrivals) -> None:
    at = buffer.find(ID_FIELD, start, end)
    arrivals.ids.append(int(buffer[at + len(ID_FIELD) : buffer.index(b"\r", at)]) if at >= 0 else -1)
    arrivals.times.append(time.monotonic())
    arrivals.octets += end - start


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
