"""A small DNS server with a scripted zone: answers, contradictions and silences.

    zone = {
        "example.com": Node(mx=((10, "mx1.example.com"), (20, "mx2.example.com"))),
        "mx1.example.com": Node(a=("127.0.0.2",)),
        "broken.example": DnsFault.SERVFAIL,
        "slow.example": Node(mx=((0, "mx1.example.com"),), faults={"A": DnsFault.SILENT}),
    }

A name that is not in the zone does not exist, unless names below it do. UDP and TCP on the same port; what does not fit
into the asker's UDP size is truncated.

Limitations: Class IN only, one question a query, no name compression but for the question's name, no zone transfers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from typing import cast

_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")
_QUESTION = struct.Struct("!HH")
_POINTER = b"\xc0\x0c"  # to the question's name
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _DESIRED, _AVAILABLE, _AUTHENTIC = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020
_PLAIN_UDP = 512  # octets, RFC 1035 4.2.1
_MAX_CHAIN = 16


class RecordType(IntEnum):
    """Record types (RFC 1035 3.2.2 and later)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    OPT = 41
    TLSA = 52


class DnsFault(Enum):
    """What a query gets instead of an answer."""

    FORMERR = auto()
    SERVFAIL = auto()
    NXDOMAIN = auto()
    NOTIMP = auto()
    REFUSED = auto()
    BADVERS = auto()
    LAME = auto()  # nothing, from a server that is neither an authority nor a resolver
    REFERRAL = auto()  # to other servers
    SILENT = auto()  # no answer at all
    TRUNCATED = auto()  # over UDP; TCP is answered
    WRONG_ID = auto()
    FORGED_FIRST = auto()  # three answers with another id, which lead elsewhere, before the right one
    GARBAGE = auto()


class _Code(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16  # its upper bits are in the OPT record (RFC 6891 6.1.3)


_CODES = {fault: _Code[fault.name] for fault in DnsFault if fault.name in _Code.__members__}


@dataclass(frozen=True, slots=True)
class Node:
    """The records of one name. ``tlsa``: usage, selector, matching type, data. ``secure``: who asks whether they are
    validated is told so (the AD flag). ``faults``: by the type's name. ``delay``: seconds before each answer."""

    mx: tuple[tuple[int, str], ...] = ()
    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()
    ptr: tuple[str, ...] = ()
    tlsa: tuple[tuple[int, int, int, bytes], ...] = ()
    cname: str | None = None
    secure: bool = False
    ttl: int = 300
    delay: float = 0.0
    faults: Mapping[str, DnsFault] = field(default_factory=dict)


Zone = Mapping[str, Node | DnsFault]


@dataclass(frozen=True, slots=True)
class Query:
    """A question that was asked. ``name`` in lower case without the last dot."""

    name: str
    kind: str
    tcp: bool
    edns: bool = True


class NameServer:
    """``queries`` tells what was asked; ``zone`` may be exchanged at any time. ``edns``: what queries with EDNS get
    instead of an answer. ``secure``: what holds for names that are not in the zone."""

    def __init__(self, zone: Zone, edns: DnsFault | None = None, *, secure: bool = False) -> None:
        self.zone = zone
        self.edns = edns
        self.secure = secure
        self.queries: list[Query] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str = "127.0.0.1", port: int = 0) -> int:
        """The port (0: one that is free for UDP and TCP). Raises OSError."""
        self._server = await asyncio.start_server(self._serve_stream, address, port)
        bound = cast(int, self._server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(address, bound)
            )
        except OSError:
            self._server.close()
            if port:
                raise
            return await self.start(address)  # the port was only free for TCP
        return bound

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._transport:
            self._transport.close()
        if self._server:
            self._server.close()

    def asked(self, name: str, kind: str) -> int:
        """How often that question was asked."""
        return sum(query.name == name and query.kind == kind for query in self.queries)

    def take_datagram(self, wire: bytes, client: tuple[str, int]) -> None:
        task = asyncio.create_task(self._answer_datagram(wire, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_datagram(self, wire: bytes, client: tuple[str, int]) -> None:
        answer = await self._answer(wire, tcp=False)
        if not answer or not self._transport:
            return
        question = _Question.read(wire)
        node = self.zone.get(question.name) if question else None
        if question and isinstance(node, Node) and node.faults.get(question.kind) is DnsFault.FORGED_FIRST:
            for forged in question.forged():
                self._transport.sendto(forged, client)
        self._transport.sendto(answer, client)

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                if answer := await self._answer(await reader.readexactly(size), tcp=True):
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        question = _Question.read(wire)
        if question is None:
            return None
        self.queries.append(Query(question.name, question.kind, tcp, question.extended))
        node = self.zone.get(question.name)
        fault = node if isinstance(node, DnsFault) else node.faults.get(question.kind) if node else None
        if question.extended and self.edns:
            fault = self.edns
        if isinstance(node, Node) and node.delay:
            await asyncio.sleep(node.delay)
        if fault is DnsFault.SILENT:
            return None
        if fault is DnsFault.GARBAGE:
            return wire[:2] + b"\xff" * 20
        if fault in _CODES:
            return question.reply(_CODES[fault], ())
        if fault in (DnsFault.LAME, DnsFault.REFERRAL):
            return question.lame(refers=fault is DnsFault.REFERRAL)
        if fault is DnsFault.WRONG_ID:
            question.number ^= 0xFFFF
        if fault is DnsFault.TRUNCATED and not tcp:
            return question.reply(_Code.NOERROR, (), truncated=True)
        code, records, secure = _look_up(self.zone, question.name, question.kind, self.secure)
        question.secure = secure
        answer = question.reply(code, records)
        if not tcp and len(answer) > question.udp_size:
            return question.reply(code, (), truncated=True)
        return answer


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.take_datagram(data, addr)


@dataclass(slots=True)
class _Question:
    number: int
    name: str
    kind: str
    section: bytes  # as it came
    flags: int
    udp_size: int
    extended: bool
    secure: bool = False  # whether the answer is

    @classmethod
    def read(cls, wire: bytes) -> _Question | None:
        """The one question of a query, or None for what is no query."""
        try:
            number, flags, questions, _, _, additional = _HEADER.unpack_from(wire)
            if flags & _RESPONSE or questions != 1:
                return None
            labels, at = [], _HEADER.size
            while length := wire[at]:
                labels.append(wire[at + 1 : at + 1 + length].decode("ascii"))
                at += 1 + length
            kind, _ = _QUESTION.unpack_from(wire, at + 1)
            end = at + 1 + _QUESTION.size
            extended = additional == 1 and wire[end : end + 3] == b"\0\0" + bytes([RecordType.OPT])
            udp_size = max(_PLAIN_UDP, int.from_bytes(wire[end + 3 : end + 5], "big")) if extended else _PLAIN_UDP
            name = RecordType(kind).name if kind in set(RecordType) else str(kind)
            return cls(number, ".".join(labels).lower(), name, wire[12:end], flags, udp_size, extended)
        except (IndexError, struct.error, UnicodeDecodeError):
            return None

    def reply(self, code: _Code, records: Sequence[bytes], *, truncated: bool = False) -> bytes:
        flags = _RESPONSE | _AUTHORITATIVE | _AVAILABLE | self.flags & _DESIRED | (code & 0xF)
        if self.secure:
            flags |= self.flags & _AUTHENTIC
        if truncated:
            flags |= _TRUNCATED
        authority = () if records or truncated else (_start_of_authority(),)
        opt = struct.pack("!HHIH", RecordType.OPT, 1232, code >> 4 << 24, 0)
        additional = (b"\0" + opt,) if self.extended else ()
        header = _HEADER.pack(self.number, flags, 1, len(records), len(authority), len(additional))
        return b"".join([header, self.section, *records, *authority, *additional])

    def lame(self, *, refers: bool) -> bytes:
        """An answer that says nothing, or only who might know."""
        servers = [_record(b"\0", RecordType.NS, 60, _name("ns.elsewhere.example"))] if refers else []
        header = _HEADER.pack(self.number, _RESPONSE | self.flags & _DESIRED, 1, 0, len(servers), 0)
        return b"".join([header, self.section, *servers])

    def forged(self) -> Iterator[bytes]:
        """Answers of somebody who has to guess the id: all mail to 192.0.2.66."""
        data = list(_data(Node(mx=((0, "mx.forged.example"),), a=("192.0.2.66",)), self.kind))
        for n in range(1, 4):
            header = _HEADER.pack(self.number ^ n, _RESPONSE | _AUTHORITATIVE, 1, len(data), 0, 0)
            yield b"".join(
                [header, self.section, *(_record(_POINTER, RecordType[self.kind], 60, each) for each in data)]
            )


def _look_up(zone: Zone, name: str, kind: str, secure: bool) -> tuple[_Code, list[bytes], bool]:
    """The answer section, aliases followed within the zone, and whether all of it is secure. ``secure``: what holds for
    names that are not there."""
    owner = _POINTER
    records: list[bytes] = []
    whole = True
    for _ in range(_MAX_CHAIN):
        node = zone.get(name)
        if isinstance(node, DnsFault):
            return _CODES.get(node, _Code.SERVFAIL), [], False
        whole = whole and (node.secure if node else secure)
        if node is None:
            exists = any(other.endswith("." + name) for other in zone)
            return (_Code.NOERROR if exists else _Code.NXDOMAIN), records, whole
        if node.cname is None or kind == "CNAME":
            records += [_record(owner, RecordType[kind], node.ttl, data) for data in _data(node, kind)]
            return _Code.NOERROR, records, whole
        records.append(_record(owner, RecordType.CNAME, node.ttl, _name(node.cname)))
        name, owner = node.cname.lower(), _name(node.cname)
    return _Code.SERVFAIL, [], False


def _data(node: Node, kind: str) -> Iterator[bytes]:
    match kind:
        case "MX":
            for preference, host in node.mx:
                yield struct.pack("!H", preference) + _name(host)
        case "A":
            yield from (ipaddress.IPv4Address(address).packed for address in node.a)
        case "AAAA":
            yield from (ipaddress.IPv6Address(address).packed for address in node.aaaa)
        case "TXT":
            for text in node.txt:
                octets = text.encode()
                pieces = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
                yield b"".join(bytes([len(piece)]) + piece for piece in pieces)
        case "PTR":
            yield from map(_name, node.ptr)
        case "TLSA":
            yield from (bytes([usage, selector, matching]) + data for usage, selector, matching, data in node.tlsa)
        case "CNAME" if node.cname:
            yield _name(node.cname)


def _record(owner: bytes, kind: RecordType, ttl: int, data: bytes) -> bytes:
    return owner + _RECORD.pack(kind, 1, ttl, len(data)) + data


def _start_of_authority() -> bytes:
    """Of the root, with 60 seconds for negative answers (RFC 2308)."""
    return _record(b"\0", RecordType.SOA, 60, b"\0\0" + struct.pack("!IIIII", 1, 3600, 600, 86400, 60))


def _name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
