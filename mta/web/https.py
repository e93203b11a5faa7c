"""HTTPS without a reverse proxy: the certificate of a port and what TLS it speaks."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Protocol

from mta.smtp_server.tls import CertificateError
from mta.web.clients import Networks


class PortSettings(Protocol):
    """The part of a section of the configuration that says where to listen."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int | None: ...
    @property
    def certificate(self) -> Path | None: ...
    @property
    def key(self) -> Path | None: ...
    @property
    def proxy_from(self) -> Networks: ...


def https_context(settings: PortSettings, section: str) -> ssl.SSLContext | None:
    """Return the TLS context; None for plain HTTP. Raises CertificateError."""
    if settings.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, settings, section)
    return context


def load_certificate(context: ssl.SSLContext, settings: PortSettings, section: str) -> None:
    """Load the pair into ``context``. Raises CertificateError."""
    assert settings.certificate is not None
    try:
        context.load_cert_chain(settings.certificate, settings.key, password="")  # without it, OpenSSL would prompt
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"{section}: {settings.certificate} and {settings.key} cannot be used: {error}; "
            "give a PEM chain and its private key"
        ) from None
