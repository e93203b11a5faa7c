"""The mechanism SCRAM-SHA-256 (RFC 7677) of AUTH; scramp speaks it.

Limitations: channel binding is not offered.
"""

from __future__ import annotations

from scramp import ScramException, ScramMechanism

from mta.mail.message import IPAddress
from mta.mail.reply import Reply
from mta.smtp_server.auth.authenticator import Authenticator, CredentialRecord, ScramVerifier
from mta.smtp_server.auth.sasl import MAX_NAME, Challenge
from mta.smtp_server.replies import AUTH_FAILED, AUTH_MALFORMED, auth_limited


class Scram:
    """Three responses: the client's first and final message, and an empty one that acknowledges the server's."""

    opening = b""

    def __init__(self, authenticator: Authenticator, address: IPAddress) -> None:
        self._authenticator = authenticator
        self._address = address
        self._server = ScramMechanism("SCRAM-SHA-256").make_server(self._look_up)
        self._credential: CredentialRecord | None = None
        self._proven = False
        self.username = ""

    async def step(self, response: bytes) -> Challenge | CredentialRecord | Reply:
        try:
            text = response.decode()
            if self._proven:
                return self._finish(text)
            return self._begin(text) if not self.username else self._prove(text)
        except UnicodeDecodeError:
            return AUTH_MALFORMED

    def _begin(self, text: str) -> Challenge | Reply:
        try:
            self._server.set_client_first(text)
        except ScramException:
            return AUTH_MALFORMED
        if len(self.username) > MAX_NAME:
            return AUTH_MALFORMED
        if self._authenticator.limited(self.username, self._address):
            return auth_limited(self._authenticator.limits.auth_window)
        self._authenticator.presume_failure(self.username, self._address)
        return Challenge(self._server.get_server_first().encode())

    def _prove(self, text: str) -> Challenge | Reply:
        try:
            self._server.set_client_final(text)
            last = self._server.get_server_final()
        except (ScramException, ValueError):
            return AUTH_FAILED
        self._proven = True
        return Challenge(last.encode())

    def _finish(self, text: str) -> CredentialRecord | Reply:
        if text:
            return AUTH_MALFORMED
        current = self._authenticator.current(self._credential) if self._credential else None
        if current is None:
            return AUTH_FAILED
        self._authenticator.succeeded(self.username, self._address)
        return current

    def _look_up(self, username: str) -> tuple[bytes, bytes, bytes, int]:
        self.username = username
        self._credential, verifier = self._authenticator.scram(username)
        return _as_scramp(verifier)


def _as_scramp(verifier: ScramVerifier) -> tuple[bytes, bytes, bytes, int]:
    return verifier.salt, verifier.stored_key, verifier.server_key, verifier.iterations
