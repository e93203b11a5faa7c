"""DNS messages as octets: a question, and what a server says to it (RFC 1035 4, 6891).

dnspython reads names and the data of the records that were asked for. Its whole messages are made for every use of DNS,
and take five times as long.

Invariants: what is not an answer to the question is ``None``; one that is not well-formed is an error. A name's
pointers lead backwards only.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import randbits
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.rdata import Rdata

from mta.mail.values import dataclass

EDNS_SIZE = 1232  # octets, the size that is never fragmented (DNS Flag Day 2020)
MAX_CHAIN = 16  # aliases in one answer

_HEADER = Struct("!HHHHHH")  # number, flags, and the numbers of questions, answers, authorities, other records
_QUESTION = Struct("!HH")  # type, class
_RECORD = Struct("!HHIH")  # type, class, TTL, octets of data
_IN, _CNAME, _SOA, _OPT = dns.rdataclass.IN, dns.rdatatype.CNAME, dns.rdatatype.SOA, dns.rdatatype.OPT
_EDNS = b"\0" + _RECORD.pack(_OPT, EDNS_SIZE, 0, 0)
# Flags as plain numbers: to combine those of dnspython takes ten times as long.
_QR, _OPCODE, _TC, _RD, _AD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0020
_MAX_NAME = 255  # octets, RFC 1035 2.3.4
_MAX_TTL = 0x7FFF_FFFF  # RFC 2181 8: more is 0

# What servers say without repeating the question.
_CURT = frozenset({dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED})

WireName = bytes  # uncompressed, in lower case


class Question(NamedTuple):
    """``text``: the name in lower case, without its last dot."""

    text: str
    name: WireName
    kind: dns.rdatatype.RdataType

    @classmethod
    def of(cls, name: str, kind: str | int) -> Question:
        """Raises DNSException for what is not a name."""
        wire = dns.name.from_text(name).to_digestable()
        return cls(name.lower().removesuffix("."), wire, dns.rdatatype.RdataType.make(kind))

    @property
    def wire(self) -> bytes:
        return self.name + _QUESTION.pack(self.kind, _IN)

    def query(self, *, edns: bool, secure: bool) -> bytes:
        """Return a message that asks it. ``secure``: and whether the answer is (RFC 6840 5.7)."""
        flags = _RD | _AD if secure else _RD
        return _HEADER.pack(randbits(16), flags, 1, 0, 0, edns) + self.wire + (_EDNS if edns else b"")


@dataclass(frozen=True, slots=True)
class Answer:
    """``data``: of the records that were asked for. ``owner``: the name that has, or would have, them, at the end of
    ``aliases``, as in ``Question.text``. ``ttl``: the shortest of all these, or of what says that there are none.
    ``authority``: types there."""

    flags: int
    code: int
    data: Sequence[Rdata]
    owner: str
    aliases: int
    ttl: int
    authority: frozenset[int]

    @property
    def is_truncated(self) -> bool:
        return bool(self.flags & _TC)


class _Record(NamedTuple):
    name: WireName
    kind: int
    ttl: int
    at: int
    size: int


def read(wire: bytes, query: bytes, question: Question) -> Answer | None:
    """Return what ``wire`` says to ``query``; None if it is no answer to it. Raises DNSException."""
    if len(wire) < _HEADER.size or wire[:2] != query[:2]:
        return None
    _, flags, questions, *numbers = _HEADER.unpack_from(wire)
    if not flags & _QR or flags & _OPCODE:
        return None
    at, asked = _HEADER.size, question.wire
    if questions == 1 and wire[at : at + len(asked)].lower() == asked.lower():
        at += len(asked)
    elif questions or flags & 0xF not in _CURT:
        return None
    if flags & dns.flags.TC:  # it may end anywhere, and is asked for anew
        return Answer(flags, flags & 0xF, (), question.text, 0, 0, frozenset())
    try:
        return _read(wire, at, flags, numbers, question)
    except (StructError, IndexError):
        raise dns.exception.FormError from None


def _read(wire: bytes, at: int, flags: int, numbers: Sequence[int], question: Question) -> Answer:
    code, records = flags & 0xF, list[_Record]()
    for _ in range(sum(numbers)):
        name, at = _name(wire, at)
        kind, group, ttl, size = _RECORD.unpack_from(wire, at)
        at += _RECORD.size
        if kind == _OPT:
            code |= ttl >> 24 << 4  # RFC 6891 6.1.3
        records.append(_Record(name, kind if group == _IN else 0, ttl if ttl <= _MAX_TTL else 0, at, size))
        at += size
    if at != len(wire):
        raise dns.exception.FormError
    answers, authority = records[: numbers[0]], records[numbers[0] : numbers[0] + numbers[1]]
    chain, found = _follow(wire, answers, question)
    counts = [*chain, *found]
    if not found:
        counts += [each for each in authority if each.kind == _SOA]
    elif code == dns.rcode.NXDOMAIN:
        raise dns.message.AnswerForNXDOMAIN
    return Answer(
        flags,
        code,
        [dns.rdata.from_wire(_IN, question.kind, wire, each.at, each.size) for each in found],
        shown(dns.name.from_wire(wire, chain[-1].at)[0]) if chain else question.text,
        len(chain),
        min((_ttl(wire, each) for each in counts), default=_MAX_TTL),
        frozenset(each.kind for each in authority),
    )


def _follow(wire: bytes, answers: Sequence[_Record], question: Question) -> tuple[Sequence[_Record], Sequence[_Record]]:
    """Return the aliases, and the records of the type that was asked for at their end."""
    name, chain = question.name, list[_Record]()
    while len(chain) < MAX_CHAIN:
        found = [each for each in answers if each.kind == question.kind and each.name == name]
        alias = next((each for each in answers if each.kind == _CNAME and each.name == name), None)
        if found or alias is None:
            return chain, found
        chain.append(alias)
        name, _ = _name(wire, alias.at)
    raise dns.message.ChainTooLong


def _ttl(wire: bytes, record: _Record) -> int:
    """Return for how long a record holds; a SOA, which says that there is nothing, as RFC 2308 4 has it."""
    if record.kind != _SOA:
        return record.ttl
    end = record.at + record.size
    return min(record.ttl, int.from_bytes(wire[end - 4 : end], "big"))


def _name(wire: bytes, at: int) -> tuple[WireName, int]:
    """Read a name that may be compressed (RFC 1035 4.1.4); return it, and where it ends."""
    labels, octets, end, before = list[bytes](), 1, 0, at
    while size := wire[at]:
        if size < 64:
            labels.append(wire[at : at + size + 1])
            octets += size + 1
            at += size + 1
        elif size >= 192:
            end = end or at + 2
            at = (size & 63) << 8 | wire[at + 1]
            if at >= before:
                raise dns.name.BadPointer
            before = at
        else:
            raise dns.name.BadLabelType
        if octets > _MAX_NAME:
            raise dns.name.NameTooLong
    return b"".join(labels).lower() + b"\0", end or at + 1


def shown(name: dns.name.Name) -> str:
    """Return a name of dnspython in lower case, without its last dot."""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
