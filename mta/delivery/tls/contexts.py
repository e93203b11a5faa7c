"""The TLS contexts that connections to receivers share, and what a failed handshake means.

Opportunistic TLS accepts whatever the receiver has, old versions, weak keys and wrong names included, and servers that
do not know RFC 5746: the alternative is plain text (RFC 7435).
"""

from __future__ import annotations

import ssl

from mta.delivery.tls.demand import ClientCertificate, TlsPolicy
from mta.mail.tls_session import TlsFault, TlsResult

_LEGACY_SERVER_CONNECT = 0x4  # ssl.OP_LEGACY_SERVER_CONNECT, from Python 3.12 on

# Of X509_verify_cert (openssl/x509_vfy.h.in): other codes are a validation failure.
_VERIFY_RESULTS = {
    9: TlsResult.CERTIFICATE_EXPIRED,  # not yet valid
    10: TlsResult.CERTIFICATE_EXPIRED,
    18: TlsResult.CERTIFICATE_NOT_TRUSTED,  # self-signed
    19: TlsResult.CERTIFICATE_NOT_TRUSTED,  # self-signed in the chain
    20: TlsResult.CERTIFICATE_NOT_TRUSTED,  # issuer not found
    21: TlsResult.CERTIFICATE_NOT_TRUSTED,  # the first one cannot be verified
    62: TlsResult.CERTIFICATE_HOST_MISMATCH,
    64: TlsResult.CERTIFICATE_HOST_MISMATCH,  # of an address
}


class TlsContexts:
    """Made once, not for each connection: that takes 18 ms.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the system's certificate authorities, as usual.
    """

    def __init__(self) -> None:
        self._contexts: dict[tuple[TlsPolicy, ClientCertificate | None], ssl.SSLContext] = {}

    def of(self, policy: TlsPolicy, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
        """Raises OSError, ssl.SSLError if the certificate cannot be read."""
        key = _LIKE[policy], certificate
        if key not in self._contexts:
            context = _MAKERS[key[0]]()
            if certificate:
                context.load_cert_chain(certificate.chain, certificate.key)
            self._contexts[key] = context
        return self._contexts[key]


def _opportunistic() -> ssl.SSLContext:
    context = _unverified()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.options |= _LEGACY_SERVER_CONNECT
    return context


def _unverified() -> ssl.SSLContext:
    """For hosts that we verify ourselves, or whose keys are all unusable: TLS 1.2 at least."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_MAKERS = {
    TlsPolicy.OPPORTUNISTIC: _opportunistic,
    TlsPolicy.ENCRYPTED: _unverified,
    TlsPolicy.REQUIRED: ssl.create_default_context,
}
_LIKE = {
    TlsPolicy.NONE: TlsPolicy.OPPORTUNISTIC,
    TlsPolicy.OPPORTUNISTIC: TlsPolicy.OPPORTUNISTIC,
    TlsPolicy.ENCRYPTED: TlsPolicy.ENCRYPTED,
    TlsPolicy.DANE: TlsPolicy.ENCRYPTED,
    TlsPolicy.REQUIRED: TlsPolicy.REQUIRED,
    TlsPolicy.IMPLICIT: TlsPolicy.REQUIRED,
}


def handshake_fault(error: Exception) -> TlsFault:
    """Say why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        result = _VERIFY_RESULTS.get(error.verify_code, TlsResult.VALIDATION_FAILURE)
        return TlsFault(result, f"certificate not valid: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        text = (error.reason or "handshake failed").replace("_", " ").lower()
    elif isinstance(error, ConnectionAbortedError):
        text = "no handshake in time"
    else:
        text = str(error) or type(error).__name__
    return TlsFault(TlsResult.VALIDATION_FAILURE, text, in_handshake=True)
