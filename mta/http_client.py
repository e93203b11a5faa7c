"""The HTTP client: POST requests to webhooks, the content scanner and takers of TLS reports, GET requests for the pages
that a mailing links to and for MTA-STS policies.

An account chooses its webhook URL and its links, so a URL is not trusted: it could point at the database, at cloud
metadata, or use a name that resolves to another address when it is connected to. The address is therefore checked each
time a socket is created.

Invariants: Unless private addresses are allowed, only public internet addresses are connected to, however they are
spelt, mapped or translated. A POST follows no redirect; a GET checks each as it does the first URL. Cookies are not
kept, proxy settings are ignored.
Limitations: A public address may be one of our own machines: what listens there must not trust the network.
"""

from __future__ import annotations

import asyncio
import errno
import io
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urldefrag, urljoin

from aiohttp import (
    ClientConnectorCertificateError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from mta.mail.message import IPAddress

MAX_URL = 2000  # characters
MAX_REDIRECTS = 10  # click trackers need one or two
_LOCAL = ("localhost", "127.0.0.1", "::1")

# Not public, although the tables of Python (2021) say otherwise or do not list them.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "224.0.0.0/3",
        "::/96", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/9", "ff00::/8",
    )
)  # fmt: skip
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::ffff:0:0:0/96"))  # RFC 6052, RFC 2765
_LOCALLY_TRANSLATED = ipaddress.IPv6Network("64:ff9b:1::/48")  # RFC 8215


class HttpError(Exception):
    """Why a request got no usable answer."""


class CertificateNotValid(HttpError):
    """The server has no valid certificate for its name."""


class NotPublic(OSError):
    """The address is not public. An OSError, so that it ends the attempt as an unreachable host would."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpPage:
    """``url``: where it was found, after redirects."""

    url: str
    status: int
    content_type: str
    body: bytes


Resolve = Callable[[str], Awaitable[Sequence[str]]]


class HttpClient:
    """``timeout``: seconds for a whole request, None if the caller limits it. ``keep_alive``: reuse connections.
    ``resolve``: gives the addresses of a name, or raises OSError; without it the system's resolver does."""

    def __init__(
        self,
        *,
        timeout: float | None,
        allow_private: bool = False,
        keep_alive: bool = True,
        resolve: Resolve | None = None,
    ) -> None:
        self._timeout, self._allow_private = timeout, allow_private
        self._session = ClientSession(
            connector=connector(allow_private=allow_private, keep_alive=keep_alive, resolve=resolve),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
        )

    async def post(
        self,
        url: str,
        body: bytes | AsyncIterator[bytes],
        headers: Iterable[tuple[str, str]] = (),
        *,
        answer_limit: int = 0,
    ) -> HttpAnswer:
        """Send ``body``, whose length ``headers`` must give if it comes in pieces; read at most ``answer_limit`` bytes
        of the answer, 0: none. Raises HttpError, TimeoutError."""
        try:
            # A file instead of bytes: aiohttp then writes in pieces and does not block the loop on a large body.
            data = io.BytesIO(body) if isinstance(body, bytes) else body
            sending = self._session.post(url, data=data, headers=list(headers), allow_redirects=False)
            async with asyncio.timeout(self._timeout), sending as answer:
                return HttpAnswer(answer.status, await _read(answer, answer_limit))
        except TimeoutError:
            raise
        except (ClientError, OSError, ValueError) as error:
            raise _error(error) from None

    async def get(
        self, url: str, headers: Iterable[tuple[str, str]] = (), *, answer_limit: int, follow: bool = True
    ) -> HttpPage:
        """Get a page of at most ``answer_limit`` bytes, wherever redirects lead; without ``follow`` a redirect is what
        is got. Raises HttpError, TimeoutError."""
        seen: set[str] = set()
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    check_url(url, allow_private=self._allow_private)
                    seen.add(url)
                    # ``encoded``: the URL is asked for as it is written, which is how a reader's program does it.
                    asking = self._session.get(URL(url, encoded=True), headers=list(headers), allow_redirects=False)
                    async with asking as answer:
                        if (target := _redirect(url, answer) if follow else None) is None:
                            return await _page(url, answer, answer_limit)
                    if target in seen:
                        raise HttpError(f"redirects in a circle to {target[:200]}")
                    if len(seen) > MAX_REDIRECTS:
                        raise HttpError(f"redirects more than {MAX_REDIRECTS} times")
                    url = target
        except TimeoutError:
            raise
        except (ClientError, OSError, ValueError) as error:
            raise _error(error) from None

    async def close(self) -> None:
        await self._session.close()


def _error(error: Exception) -> HttpError:
    if isinstance(error, ClientConnectorCertificateError):
        return CertificateNotValid(str(error.certificate_error))
    return HttpError(str(error) or type(error).__name__)


def _redirect(url: str, answer: ClientResponse) -> str | None:
    """Return where an answer leads, without the part after #. Raises ValueError."""
    location = answer.headers.get("Location")
    if answer.status not in (301, 302, 303, 307, 308) or not location:
        return None
    return urldefrag(urljoin(url, location)).url


async def _page(url: str, answer: ClientResponse, limit: int) -> HttpPage:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise HttpError(f"the answer is compressed ({encoding[:20]}), although that was not asked for")
    return HttpPage(url, answer.status, answer.headers.get("Content-Type", "")[:200], await _read(answer, limit))


async def _read(answer: ClientResponse, limit: int) -> bytes:
    body = bytearray()
    while limit and (chunk := await answer.content.readany()):
        body += chunk
        if len(body) > limit:
            raise HttpError(f"the answer has more than {limit} bytes")
    return bytes(body)


class _Resolver(AbstractResolver):
    """Lets aiohttp resolve names as we do."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._resolve(host)
        ]

    async def close(self) -> None:
        pass


def connector(*, allow_private: bool = False, keep_alive: bool = True, resolve: Resolve | None = None) -> TCPConnector:
    """Return a connector to public addresses only, unless ``allow_private``. The caller limits the connections."""

    def make_socket(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, place = address
        if not allow_private:
            require_public(str(place[0]))
        return socket.socket(family, kind, protocol)

    return TCPConnector(
        limit=0,
        ttl_dns_cache=30,
        socket_factory=make_socket,
        force_close=not keep_alive,
        resolver=_Resolver(resolve) if resolve else None,
        ssl=ssl.create_default_context() if resolve else True,
    )


def check_url(url: str, *, allow_private: bool = False) -> None:
    """Raise ValueError with the reason if ``url`` is none that this service would ask."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"a URL has at most {MAX_URL} printable ASCII characters")
    try:
        parsed = URL(url)
        host, _ = parsed.raw_host, parsed.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from None
    if not host:
        raise ValueError(f"{url!r} has no host: a URL looks like https://example.com/events")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise ValueError("a URL cannot have a user name or password")
    if parsed.raw_fragment:
        raise ValueError(f"{url!r}: remove the part after #, it is never sent")
    local = allow_private and host in _LOCAL
    if parsed.scheme != "https" and not (parsed.scheme == "http" and local):
        raise ValueError(f"{url!r}: the URL must start with https://")
    address = _literal(host)
    if address is not None and not allow_private and not is_public(address):
        raise ValueError(f"{host} is not a public internet address")


def require_public(text: str) -> None:
    """Raise NotPublic unless ``text``, as a resolver returns it, is a public address."""
    address = _literal(text)
    if address is None or not is_public(address):
        raise NotPublic(errno.EACCES, f"{text} is not a public internet address")


def is_public(address: IPAddress) -> bool:
    """Whether ``address`` and any address embedded in it (RFC 4291 2.5.5, 3056, 6052) are public."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _LOCALLY_TRANSLATED:
            return False
        embedded = _embedded(address)
        if embedded is not None:
            return is_public(embedded)
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to ``address`` are delivered to."""
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
