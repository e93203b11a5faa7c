"""The demo's DNS server: answers MX, A and TXT queries from a fixed zone, over UDP.

A name that is not in the zone does not exist, unless a name below it does.

Limitations: One question per query, class IN, no aliases, no TCP: records must fit into the UDP size of the client.
"""

from __future__ import annotations

import ipaddress
import socketserver
import struct
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_POINTER = b"\xc0\x0c"  # to the name in the question
_TYPES = {1: "A", 15: "MX", 16: "TXT"}
_SOA = 6
_TTL, _NEGATIVE_TTL = 300, 60  # seconds
_RESPONSE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
_NXDOMAIN = 3


@dataclass(frozen=True, slots=True)
class DemoRecords:
    """The records of one name."""

    mx: tuple[tuple[int, str], ...] = ()
    a: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()


class DemoNameServer:
    """Answers from ``zone``, in a thread, until ``stop``."""

    def __init__(self, zone: Mapping[str, DemoRecords]) -> None:
        self.zone = zone
        server = self

        class Query(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                octets, channel = self.request
                if answer := server.answer(octets):
                    channel.sendto(answer, self.client_address)

        self._server = socketserver.UDPServer(("127.0.0.1", 0), Query)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="demo-dns", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, query: bytes) -> bytes | None:
        """Return the response; None if ``query`` is malformed."""
        try:
            number, flags, questions, *_ = _HEADER.unpack_from(query)
            labels, at = [], _HEADER.size
            while length := query[at]:
                labels.append(query[at + 1 : at + 1 + length].decode("ascii").lower())
                at += 1 + length
            kind, _ = _QUESTION.unpack_from(query, at + 1)
        except (IndexError, struct.error, UnicodeDecodeError):
            return None
        if flags & _RESPONSE or questions != 1:
            return None
        name = ".".join(labels)
        records = self.zone.get(name)
        data = list(_data(records, _TYPES.get(kind, ""))) if records else []
        exists = records is not None or any(other.endswith(f".{name}") for other in self.zone)
        code = 0 if exists else _NXDOMAIN
        flags = _RESPONSE | _AUTHORITATIVE | _RECURSION_AVAILABLE | (flags & _RECURSION_DESIRED) | code
        answers = b"".join(_POINTER + _RECORD.pack(kind, 1, _TTL, len(each)) + each for each in data)
        authority = b"" if data else _negative()
        header = _HEADER.pack(number, flags, 1, len(data), 0 if data else 1, 0)
        return header + query[_HEADER.size : at + 1 + _QUESTION.size] + answers + authority


def _data(records: DemoRecords, kind: str) -> Iterator[bytes]:
    match kind:
        case "MX":
            yield from (struct.pack("!H", preference) + _name(host) for preference, host in records.mx)
        case "A":
            yield from (ipaddress.IPv4Address(address).packed for address in records.a)
        case "TXT":
            for text in records.txt:
                pieces = [text[at : at + 255].encode() for at in range(0, len(text), 255)]
                yield b"".join(bytes([len(piece)]) + piece for piece in pieces)


def _negative() -> bytes:
    """The root's SOA record, which limits how long negative answers are cached (RFC 2308)."""
    data = b"\0\0" + struct.pack("!IIIII", 1, 3600, 600, 86400, _NEGATIVE_TTL)
    return b"\0" + _RECORD.pack(_SOA, 1, _NEGATIVE_TTL, len(data)) + data


def _name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"
