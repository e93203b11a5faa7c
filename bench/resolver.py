"""The benchmark's name server: prepared answers, found by the bytes of the question.

Domain ``dNN.example`` has the MX ``mxNN.example``, which has one IPv4 address. Nothing else exists.

Invariants: It is cheap, because the MTAs under test share the machine with it.
Limitations: UDP only, no EDNS in the answers, no IPv6 addresses (an empty answer).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from multiprocessing.connection import Connection

_A, _MX = 1, 15
_HEADER = 12
_FOUND, _UNKNOWN = 0x8580, 0x8583  # response, authoritative, recursion desired and available; NXDOMAIN
_TTL = 3600


def bind(address: str, port: int) -> socket.socket:
    """Return a socket to serve on (port 0: a free one). Raises OSError if another benchmark is running."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    server.bind((address, port))
    return server


def serve(zone: dict[str, tuple[str, str]], server: socket.socket, control: Connection) -> None:
    """Answer for ``zone`` (domain -> MX host, its IPv4 address) until the process ends.

    ``control``: gets the port once it answers.
    """
    answers = _answers(zone)
    names = {_name(name.encode()) for pair in zone.items() for name in (pair[0], pair[1][0])}
    control.send(server.getsockname()[1])
    while True:
        query, client = server.recvfrom(4096)
        if len(query) <= _HEADER + 5:
            continue
        end = query.index(b"\0", _HEADER) + 5
        question = query[_HEADER:end]
        key = question.lower()
        answer = answers.get(key, b"")
        code = _FOUND if answer or key[:-4] in names else _UNKNOWN
        server.sendto(query[:2] + struct.pack("!HHHHH", code, 1, bool(answer), 0, 0) + question + answer, client)


def _answers(zone: dict[str, tuple[str, str]]) -> dict[bytes, bytes]:
    answers: dict[bytes, bytes] = {}
    for domain, (host, address) in zone.items():
        exchange = struct.pack("!H", 10) + _name(host.encode())
        answers[_question(domain, _MX)] = _record(_MX, exchange)
        answers[_question(host, _A)] = _record(_A, socket.inet_aton(address))
    return answers


def _record(kind: int, data: bytes) -> bytes:
    return struct.pack("!HHHIH", 0xC000 | _HEADER, kind, 1, _TTL, len(data)) + data


def _question(name: str, kind: int) -> bytes:
    return _name(name.encode()) + struct.pack("!HH", kind, 1)


def _name(name: bytes) -> bytes:
    labels: Sequence[bytes] = name.split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
