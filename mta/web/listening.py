"""The public port: how connections are taken there, and how many, and for how long.

Whoever connects has LIFETIME to be done; it is long for a page and short for somebody who only wants to keep the
connection. Beyond CONNECTIONS, new ones are closed at once.

It must never write a request line into a log: it holds a token.

*Limits.* A connection is bounded by its lifetime, not by the rate at which it sends. Ports below 1024 need the right to
bind them where the service runs as another user: CAP_NET_BIND_SERVICE.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass

from aiohttp import web

from config.schema import PublicPagesSettings

CONNECTIONS = 1000
LIFETIME = 60.0  # seconds until a connection is asked to end
CUT = 15.0  # seconds more until it is cut
HANDSHAKE = 10.0  # seconds for TLS
BACKLOG = 1024


class CertificateError(Exception):
    """Why the certificate cannot be used."""


class Door:
    """Open from ``open`` to ``close``."""

    def __init__(self, app: web.Application) -> None:
        quiet = logging.Logger("quiet", logging.CRITICAL + 1)  # aiohttp's own shows requests that it cannot read
        self._runner = web.AppRunner(app, access_log=None, logger=quiet, handle_signals=False, shutdown_timeout=2.0)
        self._server: asyncio.Server | None = None
        self._tls: ssl.SSLContext | None = None

    async def open(self, settings: PublicPagesSettings) -> None:
        """Answer. Raises OSError if the port is taken, CertificateError."""
        self._tls = server_context(settings)
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(
            _Takes(self._runner.server),
            settings.address,
            settings.port,
            ssl=self._tls,
            ssl_handshake_timeout=HANDSHAKE if self._tls else None,
            backlog=BACKLOG,
        )

    def configure(self, settings: PublicPagesSettings) -> None:
        """Show the certificate as it is now, to those who connect from now on. Raises CertificateError."""
        if self._tls and settings.certificate:
            server_context(settings)  # a pair that does not fit would leave the one in use without its key
            _load(self._tls, settings)

    async def close(self) -> None:
        """Take no more, finish what runs."""
        if self._server:
            self._server.close()
        await self._runner.cleanup()


@dataclass(frozen=True, slots=True)
class _Takes:
    """Makes what serves a connection."""

    server: web.Server

    def __call__(self) -> asyncio.Protocol:
        if len(self.server.connections) >= CONNECTIONS:
            return _Closes()
        loop, visit = asyncio.get_running_loop(), self.server()
        loop.call_later(LIFETIME, visit.close)
        loop.call_later(LIFETIME + CUT, visit.force_close)
        return visit


class _Closes(asyncio.Protocol):
    """There are too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def server_context(settings: PublicPagesSettings) -> ssl.SSLContext | None:
    """What is needed for HTTPS; None for plain HTTP. Raises CertificateError."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings)
    return context


def _load(context: ssl.SSLContext, settings: PublicPagesSettings) -> None:
    assert settings.certificate is not None
    try:
        context.load_cert_chain(settings.certificate, settings.key, password="")  # a question would wait for ever
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"web.public: {settings.certificate} and {settings.key} cannot be used: {error}; "
            "give a PEM chain and its private key"
        ) from None
