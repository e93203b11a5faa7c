"""TLS towards receivers: the policies, and two contexts that all connections share.

Opportunistic TLS accepts whatever the receiver has, old versions, weak keys and wrong names included, and servers that
do not know RFC 5746: the alternative is plain text (RFC 7435). A smart host with ``required`` or ``implicit`` must show
a valid certificate for its name.

Limitations: no DANE and no MTA-STS: a receiver found by MX is never verified.
"""

from __future__ import annotations

import ssl
from enum import Enum

_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT, from Python 3.12 on


class TlsPolicy(Enum):
    """How a connection is to be protected. REQUIRED and IMPLICIT verify the certificate."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"

    @property
    def is_strict(self) -> bool:
        return self in (TlsPolicy.REQUIRED, TlsPolicy.IMPLICIT)


class TlsContexts:
    """Made once, not for each connection: that takes 18 ms.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the system's certificate authorities, as usual.
    """

    def __init__(self) -> None:
        self._opportunistic = _opportunistic()
        self._verifying = ssl.create_default_context()

    def of(self, policy: TlsPolicy) -> ssl.SSLContext:
        return self._verifying if policy.is_strict else self._opportunistic


def _opportunistic() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    return context


def handshake_error(error: Exception) -> str:
    """Say in one line, for the operator, why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "handshake failed").replace("_", " ").lower()
    if isinstance(error, ConnectionAbortedError):
        return "no handshake in time"
    return str(error) or type(error).__name__
