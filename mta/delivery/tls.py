"""TLS towards receivers: two contexts, shared by all connections.

Opportunistic TLS takes whatever the receiver has, old versions, weak keys and wrong names included: the alternative is
plain text (RFC 7435). A smart host with ``required`` or ``implicit`` must show a valid certificate for its name.

It must never be built for each connection: that takes 18 ms.

*Limits.* No DANE and no MTA-STS: a receiver found by MX is never verified.
"""

from __future__ import annotations

import ssl

from mta.delivery.route import TlsMode


class Contexts:
    """``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the system's certificate authorities, as everywhere."""

    def __init__(self) -> None:
        self._opportunistic = _opportunistic()
        self._verifying = ssl.create_default_context()

    def for_policy(self, tls: TlsMode) -> ssl.SSLContext:
        return self._verifying if tls.is_strict else self._opportunistic


def _opportunistic() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context
