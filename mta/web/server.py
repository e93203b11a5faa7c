"""Serve an application on a port: connections, their limits, TLS. Everything of uvicorn is used here.

Invariants: a request line is never logged, because it can contain a token. A client has its time for a request's head,
between two requests and for the whole connection, and no more than its share of the connections, unless it is a listed
proxy. A request's head is bounded.
Limitations: a connection is counted after the TLS handshake. The time for a body is the application's matter
(``mta.web.public``, ``mta.web.admin``). Anything that is not HTTP gets a bare 400. HTTP/1.1 only.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass
from email.utils import formatdate

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from mta.mail.message import IPAddress
from mta.observe.log import get_logger
from mta.web.asgi import Asgi, Receive, Scope, Send, where
from mta.web.clients import UNKNOWN, Networks, parse_ip, subscriber
from mta.web.https import PortSettings, https_context, load_certificate

log = get_logger()

HANDSHAKE = 10.0  # seconds for TLS
BACKLOG = 1024
SHUTDOWN = 2.0  # seconds that running requests may take


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a port allows. Times in seconds."""

    connections: int = 1000  # more are closed at once
    per_client: int = 100  # of them from one address (IPv6: /64)
    head: float = 10.0  # for the first request's head
    head_size: int = 32 * 1024  # octets of a request's head
    idle: float = 15.0  # between two requests, the second one's head included
    lifetime: float = 60.0  # after which a connection is closed
    abort_after: float = 15.0  # more, after which it is aborted


@dataclass(frozen=True, slots=True)
class PlainPort:
    """Where to listen without TLS."""

    address: str
    port: int | None
    certificate: None = None
    key: None = None
    proxy_from: Networks = ()


class HttpConnections:
    """The open connections, in all and per client. ``proxies`` may have as many as there are."""

    def __init__(self, limits: HttpLimits) -> None:
        self.limits = limits
        self.proxies: Networks = ()
        self._total = 0
        self._of: dict[int, int] = {}

    def enter(self, client: IPAddress) -> bool:
        """Count a connection, unless there are too many. Only a counted one must ``leave``."""
        key = subscriber(client)
        count = self._of.get(key, 0)
        is_proxy = any(client in network for network in self.proxies)
        if self._total >= self.limits.connections or (count >= self.limits.per_client and not is_proxy):
            return False
        self._total += 1
        self._of[key] = count + 1
        return True

    def leave(self, client: IPAddress) -> None:
        key = subscriber(client)
        self._total -= 1
        self._of[key] -= 1
        if not self._of[key]:
            del self._of[key]


class HttpServer:
    """One port, from ``open`` to ``close``. ``section``: the name of its settings, for messages."""

    def __init__(self, app: Asgi, section: str, limits: HttpLimits = HttpLimits()) -> None:
        self._section = section
        self._connections = HttpConnections(limits)
        self._state = ServerState()
        self._config = Config(
            _logged(app),
            ws="none",
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=limits.idle,  # type: ignore[arg-type]
        )
        self._config.load()
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def open(self, settings: PortSettings, bound: socket.socket | None = None) -> None:
        """Start serving, on ``bound`` if several processes share it. Raises OSError if the port is in use,
        CertificateError."""
        self._tls = https_context(settings, self._section)
        self._connections.proxies = settings.proxy_from
        self._tell_time()
        place = {"host": settings.address, "port": settings.port} if bound is None else {"sock": bound}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self._connections, self._config, self._state),
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE if self._tls else None,
            backlog=BACKLOG,
            **place,
        )

    def check(self, settings: PortSettings) -> None:
        """Raises CertificateError if ``configure`` would."""
        if self._tls and settings.certificate:
            https_context(settings, self._section)

    def configure(self, settings: PortSettings) -> None:
        """Take over ``proxy_from``, and load the certificate again, for new connections. Raises CertificateError; then
        nothing has changed."""
        self.check(settings)  # loading a mismatched pair would leave the context in use without its key
        self._connections.proxies = settings.proxy_from
        if self._tls and settings.certificate:
            load_certificate(self._tls, settings, self._section)

    async def close(self) -> None:
        """Accept no more connections and finish running requests."""
        if self._clock:
            self._clock.cancel()
        if self._server:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if running := list(self._state.tasks):
            _, late = await asyncio.wait(running, timeout=SHUTDOWN)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self._state.connections):
            connection.transport.abort()

    def _tell_time(self) -> None:
        """Keep the field Date (RFC 9110 6.6.1), which is made once a second instead of once a response."""
        self._state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode()), (b"server", b"imprimatur")]
        self._clock = asyncio.get_running_loop().call_later(1.0, self._tell_time)


def _logged(app: Asgi) -> Asgi:
    """Return ``app``, whose unexpected errors are logged without their texts, which can contain tokens."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception as error:
            log.error("request failed", kind=type(error).__name__, where=where(error))
            raise

    return logged


class _Connection(HttpToolsProtocol):
    """One connection within its limits. Overrides what uvicorn logs, and when its timers run."""

    def __init__(self, connections: HttpConnections, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self.logger = logging.Logger("quiet", logging.CRITICAL + 1)  # uvicorn's own logs requests that fail
        self.access_log = False
        self._all = connections
        self._peer: IPAddress | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._in_head, self._head_size = True, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        name = transport.get_extra_info("peername")
        peer = parse_ip(name[0]) or UNKNOWN if name else UNKNOWN
        if not self._all.enter(peer):
            transport.close()
            return
        self._peer = peer
        super().connection_made(transport)
        limits = self._all.limits
        self.timeout_keep_alive_task = self.loop.call_later(limits.head, self.timeout_keep_alive_handler)
        self._timers = [
            self.loop.call_later(limits.lifetime, self.shutdown),
            self.loop.call_later(limits.lifetime + limits.abort_after, transport.abort),
        ]

    def data_received(self, data: bytes) -> None:
        """Parse. The timer of an idle connection runs on until the head is complete, unlike in uvicorn."""
        if self._peer is None or self.transport.is_closing():
            return
        self._head_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not been asked for (RFC 9110 7.8)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request")
        else:
            if self._in_head and self._head_size > self._all.limits.head_size:
                self.send_400_response("Request head too large")

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._all.limits.head_size:
            raise ValueError("request head too large")  # the parser stops, and the client gets 400
        self._in_head = False
        self._unset_keepalive_if_required()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_size = True, 0
        super().on_message_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close: the next request's head has not come in time. A client that reads slowly is not waited for."""
        self.transport.abort() if self._in_head and self._head_size else super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._peer:
            self._all.leave(self._peer)
            self._unset_keepalive_if_required()
            super().connection_lost(exc)
