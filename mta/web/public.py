"""The public port: its connections, limits and TLS, and the application that serves the pages for recipients.

Invariants: Every response is one of our own pages: no traceback, no default text, no cookie, no redirect. Request lines
are never logged, because they contain tokens. X-Forwarded-For is believed from listed proxies only. A client has its
time for a request's head, for its body, between two requests and for the whole connection, and no more than its share
of the connections, unless it is a listed proxy.
Limitations: A connection is counted after the TLS handshake. aiohttp answers anything that is not HTTP with a bare 400.
Request rates are counted per process. Ports below 1024 need CAP_NET_BIND_SERVICE if the service runs as another user.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from config.schema import PublicPagesSettings
from mta.mail.message import IPAddress
from mta.observe.log import get_logger
from mta.observe.metrics import Metrics
from mta.smtp_server.tls import CertificateError
from mta.store.permission.unsubscribes import Unsubscribes
from mta.store.postgres.errors import StoreUnavailable
from mta.web.pages import Page, Pages
from mta.web.unsubscribe import HANDLERS, AccountById, UnsubscribeHandlers
from policy.permission.tokens import Tokens

log = get_logger()

MAX_CONNECTIONS = 1000  # more are closed at once
MAX_PER_CLIENT = 100  # of them from one address (IPv6: /64)
HEAD = 10.0  # seconds for the first request's head
BODY = 10.0  # seconds for a request's body
IDLE = 15.0  # seconds between two requests, the second one's head included
LIFETIME = 60.0  # seconds after which a connection is closed
ABORT_AFTER = 15.0  # seconds more after which it is aborted
HANDSHAKE = 10.0  # seconds for TLS
BACKLOG = 1024
MAX_BODY = 4096  # bytes of a form
RETRY_AFTER = 60.0  # seconds to wait after an internal error
MAX_CLIENTS = 100_000  # whose request rate is remembered
MAX_HOPS = 20  # proxies in X-Forwarded-For
ROUNDING = 1e-6  # seconds
UNKNOWN = ip_address("0.0.0.0")  # noqa: S104 - a socket without addresses

Networks = Sequence[IPv4Network | IPv6Network]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PublicServer:
    """The public port, from ``open`` to ``close``."""

    def __init__(self, app: web.Application) -> None:
        quiet = logging.Logger("quiet", logging.CRITICAL + 1)  # aiohttp's own logs requests that it cannot parse
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=quiet,
            handle_signals=False,
            shutdown_timeout=2.0,
            keepalive_timeout=IDLE,
            lingering_time=0.0,  # what a client still sends of a body that was refused is not read
        )
        self._connections = PublicConnections()
        app.middlewares.append(self._connections.read_in_time)
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None

    async def open(self, settings: PublicPagesSettings) -> None:
        """Start serving. Raises OSError if the port is in use, CertificateError."""
        self._tls = server_context(settings)
        self._connections.proxies = settings.proxy_from
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _PublicConnection(self._connections, server()),
            settings.address,
            settings.port,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE if self._tls else None,
            backlog=BACKLOG,
        )

    def configure(self, settings: PublicPagesSettings) -> None:
        """Take over ``proxy_from``, and load the certificate again, for new connections. Raises CertificateError; the
        old one then stays in use."""
        self._connections.proxies = settings.proxy_from
        if self._tls and settings.certificate:
            server_context(settings)  # loading a mismatched pair would leave the context in use without its key
            _load_certificate(self._tls, settings)

    async def close(self) -> None:
        """Accept no more connections and finish running requests."""
        if self._server:
            self._server.close()
        await self._runner.cleanup()


class PublicConnections:
    """The open connections, in all and per client. ``proxies`` may have as many as there are. ``silent``: those whose
    first request has not come yet."""

    def __init__(self) -> None:
        self.proxies: Networks = ()
        self.silent: set[web.RequestHandler] = set()
        self._total = 0
        self._of: dict[int, int] = {}

    def enter(self, client: IPAddress) -> bool:
        """Count a connection, unless there are too many. Only a counted one must ``leave``."""
        key = _network(client)
        count = self._of.get(key, 0)
        is_proxy = any(client in network for network in self.proxies)
        if self._total >= MAX_CONNECTIONS or (count >= MAX_PER_CLIENT and not is_proxy):
            return False
        self._total += 1
        self._of[key] = count + 1
        return True

    def leave(self, client: IPAddress) -> None:
        key = _network(client)
        self._total -= 1
        self._of[key] -= 1
        if not self._of[key]:
            del self._of[key]

    @property
    def read_in_time(self) -> Middleware:
        """The middleware that reads a request's body before anything looks at it."""

        @web.middleware
        async def read_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.silent.discard(request.protocol)
            try:
                async with asyncio.timeout(BODY):
                    await request.read()
            except TimeoutError:
                request.protocol.force_close()
                return web.Response(status=408)
            return await handler(request)

        return read_in_time


class _PublicConnection(asyncio.Protocol):
    """One connection within its limits; what it carries is aiohttp's."""

    def __init__(self, connections: PublicConnections, inner: web.RequestHandler) -> None:
        self._connections, self._inner = connections, inner
        self._client: IPAddress | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        client = _address(name[0]) or UNKNOWN if name else UNKNOWN
        if not self._connections.enter(client):
            transport.close()
            return
        self._client = client
        loop, inner = asyncio.get_running_loop(), self._inner
        inner.connection_made(transport)
        self._connections.silent.add(inner)
        self._timers = [
            loop.call_later(HEAD, self._expect_request),
            loop.call_later(LIFETIME, inner.close),
            loop.call_later(LIFETIME + ABORT_AFTER, inner.force_close),
        ]

    def _expect_request(self) -> None:
        """Close the connection unless the head of its first request has come."""
        if self._inner in self._connections.silent:
            self._inner.force_close()

    def data_received(self, data: bytes) -> None:
        if self._client:
            self._inner.data_received(data)

    def eof_received(self) -> None:
        if self._client:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, error: BaseException | None) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._client:
            self._connections.leave(self._client)
            self._connections.silent.discard(self._inner)
            self._inner.connection_lost(error)


def server_context(settings: PublicPagesSettings) -> ssl.SSLContext | None:
    """Return the TLS context; None for plain HTTP. Raises CertificateError."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, settings)
    return context


def _load_certificate(context: ssl.SSLContext, settings: PublicPagesSettings) -> None:
    assert settings.certificate is not None
    try:
        context.load_cert_chain(settings.certificate, settings.key, password="")  # without it, OpenSSL would prompt
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"web.public: {settings.certificate} and {settings.key} cannot be used: {error}; "
            "give a PEM chain and its private key"
        ) from None


# --- the application


class ClientLimit:
    """Which client a request is from, and whether it may be served now."""

    def __init__(self, settings: PublicPagesSettings) -> None:
        self._settings = settings
        self._rates = RequestRates(settings.rate, settings.burst, time.monotonic)

    def configure(self, settings: PublicPagesSettings) -> None:
        self._settings = settings
        self._rates.configure(settings.rate, settings.burst)

    def wait(self, request: web.Request) -> float:
        """Count the request; return the seconds that its client has to wait, 0 if it may be served."""
        forwarded = request.headers.getall(hdrs.X_FORWARDED_FOR, [])
        return self._rates.take(client_of(request.remote or "", forwarded, self._settings.proxy_from))


PAGES: web.AppKey[Pages] = web.AppKey("pages", Pages)
CLIENT_LIMIT: web.AppKey[ClientLimit] = web.AppKey("client_limit", ClientLimit)


def make_public(
    unsubscribes: Unsubscribes,
    account_by_id: AccountById,
    tokens: Tokens,
    settings: PublicPagesSettings,
    metrics: Metrics,
) -> web.Application:
    """Return the application of the public port. Raises ConfigError."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_guard])
    app[PAGES], app[CLIENT_LIMIT] = Pages.load(), ClientLimit(settings)
    app[HANDLERS] = UnsubscribeHandlers(unsubscribes, account_by_id, tokens, app[PAGES], metrics)
    app.add_routes(app[HANDLERS].routes())
    app.on_response_prepare.append(_add_headers)
    return app


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.app[PAGES].headers)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Limit each client's requests; answer every error with one of our pages."""
    pages, language = request.app[PAGES], request.headers.get(hdrs.ACCEPT_LANGUAGE, "")
    if wait := request.app[CLIENT_LIMIT].wait(request):
        return pages.respond(Page.BUSY, language, wait=wait)
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return web.Response(status=405, headers={hdrs.ALLOW: error.headers[hdrs.ALLOW]})
    except web.HTTPNotFound:
        return pages.respond(Page.NOT_FOUND, language)
    except web.HTTPException:  # the body is too large
        return pages.respond(Page.INVALID, language)
    except StoreUnavailable:
        return pages.respond(Page.UNAVAILABLE, language, wait=RETRY_AFTER)
    except Exception as error:
        # Without the text of the exception: it may contain the token.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        log.error("page failed", kind=type(error).__name__, where=where[-6:])
        return pages.respond(Page.UNAVAILABLE, language, wait=RETRY_AFTER)


def client_of(peer: str, forwarded: Sequence[str], proxies: Networks) -> IPAddress:
    """Return the client's address. ``peer``: the other end of the connection; ``forwarded``: X-Forwarded-For fields.

    Reads X-Forwarded-For from right to left: the first address that is not one of our proxies is the client. Everything
    further left was written by the client.
    """
    client = _address(peer) or UNKNOWN
    hops = ",".join(forwarded).split(",")[::-1][:MAX_HOPS]
    for hop in hops:
        if not any(client in network for network in proxies) or (named := _address(hop)) is None:
            break
        client = named
    return client


def _address(text: str) -> IPAddress | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class RequestRates:
    """A token bucket for each client: ``burst`` requests at once, then ``rate`` per second.

    IPv6 clients are counted by their /64, which is what one subscriber has. At most MAX_CLIENTS are remembered.
    """

    __slots__ = ("_burst", "_clock", "_full_at", "_rate")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._full_at: dict[int, float] = {}  # when each client's bucket is full again; the latest client is last

    def configure(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, burst

    def take(self, client: IPAddress) -> float:
        """Count a request; return the seconds that the client has to wait, 0 if the request may be served."""
        key, now = _network(client), self._clock()
        full_at = max(now, self._full_at.pop(key, now)) + 1 / self._rate
        wait = full_at - now - self._burst / self._rate
        if wait < ROUNDING:
            wait = 0.0
        self._full_at[key] = full_at - 1 / self._rate if wait else full_at
        if len(self._full_at) > MAX_CLIENTS:
            del self._full_at[next(iter(self._full_at))]
        return wait


def _network(address: IPAddress) -> int:
    """Return the IPv4 address or the /64 of the IPv6 address as a number; the two ranges do not overlap."""
    return int(address) if address.version == 4 else (int(address) >> 64) + (1 << 64)
