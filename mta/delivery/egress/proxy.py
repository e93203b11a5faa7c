"""Connect through a proxy: the PROXY protocol in front of the session, or SOCKS5 (RFC 1928, without authentication).

The proxy sends from the source's address; whether it may is for the proxy to say.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import ip_address

from mta.delivery.egress.sources import EgressSource

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PROXIED_TCP = {4: 0x11, 6: 0x21}  # PROXY protocol version 2: address family and stream

_SOCKS = 5
_NO_AUTHENTICATION = 0
_CONNECT = 1
_SOCKS_FAMILY = {4: 1, 6: 4}
_NAME = 3
_BOUND_LENGTH = {1: 4, 4: 16}
_SOCKS_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
_OF_THE_RECEIVER = frozenset({3, 4, 5, 6})


class EgressProxyError(Exception):
    """The proxy does not serve: not reachable, or it does not do what is asked."""


class BehindProxyError(Exception):
    """The proxy works, and cannot reach the receiver."""


async def connect(sock: socket.socket, source: EgressSource, address: str, port: int) -> None:
    """Connect ``sock`` to a receiver through the source's proxy. Raises EgressProxyError, BehindProxyError."""
    assert source.proxy is not None
    loop, proxy = asyncio.get_running_loop(), source.proxy
    try:
        await loop.sock_connect(sock, (proxy.host, proxy.port))
        if proxy.protocol == "haproxy":
            await loop.sock_sendall(sock, proxy_header(source.address or "", address, port))
        else:
            await _ask_socks(sock, address, port)
    except (OSError, EOFError) as error:
        raise EgressProxyError(f"proxy {proxy.host}:{proxy.port}: {error}") from error


def proxy_header(source: str, address: str, port: int) -> bytes:
    """Return the PROXY protocol header (version 2): from ``source``, any port, to ``address``.

    https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2
    """
    ours, theirs = ip_address(source), ip_address(address)
    addresses = ours.packed + theirs.packed + struct.pack("!HH", 0, port)
    return _SIGNATURE + struct.pack("!BBH", 0x21, _PROXIED_TCP[ours.version], len(addresses)) + addresses


async def _ask_socks(sock: socket.socket, address: str, port: int) -> None:
    loop, target = asyncio.get_running_loop(), ip_address(address)
    await loop.sock_sendall(sock, bytes((_SOCKS, 1, _NO_AUTHENTICATION)))
    version, method = await _receive(sock, 2)
    if (version, method) != (_SOCKS, _NO_AUTHENTICATION):
        raise EgressProxyError("the proxy does not speak SOCKS5, or asks for a password")
    request = bytes((_SOCKS, _CONNECT, 0, _SOCKS_FAMILY[target.version])) + target.packed + struct.pack("!H", port)
    await loop.sock_sendall(sock, request)
    _, reply, _, family = await _receive(sock, 4)
    length = (await _receive(sock, 1))[0] if family == _NAME else _BOUND_LENGTH.get(family, 4)
    await _receive(sock, length + 2)
    if reply:
        why = _SOCKS_REPLIES.get(reply, f"reply {reply}")
        raise (BehindProxyError if reply in _OF_THE_RECEIVER else EgressProxyError)(f"SOCKS5: {why}")


async def _receive(sock: socket.socket, octets: int) -> bytes:
    """Receive exactly so much. Raises EOFError."""
    loop, received = asyncio.get_running_loop(), b""
    while len(received) < octets:
        part = await loop.sock_recv(sock, octets - len(received))
        if not part:
            raise EOFError("closed the connection")
        received += part
    return received
