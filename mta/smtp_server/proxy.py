"""Parse the PROXY header that a load balancer puts before a connection: who the client really is.

Versions 1 (text) and 2 (binary) of haproxy's proxy-protocol.txt. Pure: octets in, an address out. The header is
measured before it is read, so that nothing of what follows it (a TLS handshake) is read along.

Invariants: a header that cannot be read whole is not believed. At most MAX_HEADER octets are waited for.

Limitations: TLVs of version 2 are skipped. Only TCP over IPv4 and IPv6 is known; for others (UNIX sockets, UDP) the
balancer's own address is used.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

from mta.mail.message import IPAddress

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # of version 2
MAX_TEXT = 107  # octets of a version 1 header with its CRLF
MAX_HEADER = 4096  # octets, TLVs included

_TCP4 = re.compile(rb"PROXY TCP4 ([0-9.]{7,15}) [0-9.]{7,15} \d{1,5} \d{1,5}\r\n\Z")
_TCP6 = re.compile(rb"PROXY TCP6 ([0-9A-Fa-f:.]{2,39}) [0-9A-Fa-f:.]{2,39} \d{1,5} \d{1,5}\r\n\Z")


class ProxyError(ValueError):
    """The connection does not begin with a valid PROXY header."""


def measure(start: bytes) -> int | None:
    """Return the length of the header that ``start`` begins with, None if more of it is needed. Raises ProxyError."""
    if start.startswith(SIGNATURE):
        if len(start) < 16:
            return None
        length = 16 + int.from_bytes(start[14:16], "big")
        if length > MAX_HEADER:
            raise ProxyError(f"a header of {length} octets is too long")
        return length
    if start.startswith(b"PROXY "):
        end = start.find(b"\r\n", 0, MAX_TEXT)
        if end < 0 and len(start) >= MAX_TEXT:
            raise ProxyError("a version 1 header without an end")
        return None if end < 0 else end + 2
    if SIGNATURE.startswith(start) or b"PROXY ".startswith(start):
        return None
    raise ProxyError("the connection does not begin with a PROXY header")


def read(header: bytes) -> IPAddress | None:
    """Return the client's address, None if the balancer itself is the client (LOCAL, UNKNOWN). Raises ProxyError."""
    return _read_binary(header) if header.startswith(SIGNATURE) else _read_text(header)


def _read_text(header: bytes) -> IPAddress | None:
    if header.startswith(b"PROXY UNKNOWN") and header[13:14] in (b" ", b"\r"):
        return None
    try:
        if match := _TCP4.match(header):
            return IPv4Address(match[1].decode())
        if match := _TCP6.match(header):
            return IPv6Address(match[1].decode())
    except ValueError:
        pass
    raise ProxyError("a version 1 header that cannot be read")


def _read_binary(header: bytes) -> IPAddress | None:
    version, family, length = struct.unpack_from("!BBH", header, 12)
    if version >> 4 != 2 or length != len(header) - 16:
        raise ProxyError("a binary header of another version than 2")
    command = version & 0xF
    if command == 0:  # LOCAL: a health check of the balancer's own
        return None
    if command != 1:
        raise ProxyError(f"a binary header with the unknown command {command}")
    if family == 0x11 and length >= 12:
        return IPv4Address(header[16:20])
    if family == 0x21 and length >= 36:
        return IPv6Address(header[16:32])
    if family >> 4 in (1, 2) and family & 0xF == 1:
        raise ProxyError("a binary header that is too short for its addresses")
    return None
