"""Where our own requests may go: to public addresses, by HTTPS, and nowhere else.

An account names the URL, so the URL is not to be trusted: it could lead to the database beside us, to a cloud's
metadata, or to a name that has a public address when looked at and another one when connected to. What is checked is
therefore each address at the moment a socket is made for it.

It must never connect to an address that is not of the public internet, however it is spelt, mapped or translated.

*Limits.* A public address may still be one of our own machines: what listens there must not trust the network. Names
are looked up by the system's resolver.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import Any

from aiohttp import TCPConnector
from yarl import URL

from mta.mail.message import IPAddress

MOST = 2000  # characters of a URL
_LOCAL = ("localhost", "127.0.0.1", "::1")

# Not public, though Python's tables (of 2021) say otherwise or nothing.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3",
        "::/96", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/9", "ff00::/8",
    )
)  # fmt: skip
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))  # RFC 6052, RFC 2765
_LOCALLY_TRANSLATED = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215


class NotPublic(OSError):
    """An address that we do not connect to. An OSError, so that it ends the attempt as a dead host would."""


def is_public(address: IPAddress) -> bool:
    """Whether ``address``, and each address that it carries inside (RFC 4291 2.5.5, 3056, 6052), is of the public
    internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _LOCALLY_TRANSLATED:
            return False
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
    if any(address in network for network in _REFUSED if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def check_url(url: str, *, allow_private: bool = False) -> None:
    """Raises ValueError, saying what is wrong, for a URL that no webhook may have."""
    if len(url) > MOST or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"a webhook's URL is up to {MOST} printable ASCII characters")
    try:
        parsed = URL(url)
        host, _ = parsed.raw_host, parsed.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    if not host:
        raise ValueError(f"{url!r} names no host: a webhook's URL is like https://example.com/events")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise ValueError("a webhook's URL holds no user name or password: requests are known by their signature")
    if parsed.raw_fragment:
        raise ValueError(f"{url!r}: what follows # is never sent; leave it out")
    local = allow_private and host in _LOCAL
    if parsed.scheme != "https" and not (parsed.scheme == "http" and local):
        raise ValueError(f"{url!r}: a webhook's URL begins with https://")
    address = _literal(host)
    if address is not None and not allow_private and not is_public(address):
        raise ValueError(f"{host} is not an address of the public internet")


def connector(*, allow_private: bool = False) -> TCPConnector:
    """Connections to public addresses only, unless ``allow_private``. How many is the caller's to bound."""

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, place = address
        if not allow_private:
            require_public(str(place[0]))
        return socket.socket(family, kind, protocol)

    return TCPConnector(limit=0, ttl_dns_cache=30, socket_factory=make_socket)


def require_public(text: str) -> None:
    """Raises NotPublic for any other address; ``text`` as a resolver gives it."""
    address = _literal(text)
    if address is None or not is_public(address):
        raise NotPublic(errno.EACCES, f"{text} is not an address of the public internet")


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to ``address`` end at."""
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _literal(text: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
